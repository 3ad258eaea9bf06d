//! Bytes of a remote file, from one request or, where downloads break off, from several.

use crate::address::Scheme;
use crate::failure::{Failure, changed};
use crate::http::Body;
use crate::objects::Chunks;
use crate::servers::Shared;
use crate::version::Check;
use futures_util::StreamExt;
use pipe_stage::{Error, Remote};
use std::{
    io::{self, Read},
    sync::Arc,
};
use tokio::{sync::OwnedSemaphorePermit, time::sleep};

/// A download in progress.
struct Open {
    source: Source,
    /// The right to a connection.
    _permit: OwnedSemaphorePermit,
}

enum Source {
    Web(Body),
    Object(Chunks),
}

/// Reads a file of a known size in a known version.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    remote: Remote,
    size: u64,
    /// Position of the next byte to return.
    at: u64,
    chunk: Vec<u8>,
    used: usize,
    open: Option<Open>,
    /// Attempts since the last byte arrived.
    failed: u32,
    /// For a file that is read from its beginning.
    check: Option<Check>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, remote: &Remote, size: u64, at: u64) -> Self {
        let check = (at == 0).then(|| Check::new(&remote.version, size));
        let remote = remote.clone();
        Self { shared, remote, size, at, chunk: Vec::new(), used: 0, open: None, failed: 0, check }
    }

    /// Number of bytes that arrived.
    fn arrived(&self) -> u64 {
        self.at + (self.chunk.len() - self.used) as u64
    }

    async fn request(&self) -> Result<Open, Failure> {
        let Remote { url, version, .. } = &self.remote;
        let permit = self.shared.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Failure::passing("the program ends"))?;
        let at = self.arrived();
        let source = match Scheme::of(url).map_err(Failure::Lasting)? {
            Scheme::Web => Source::Web(self.shared.http.open(url, self.size, at, version).await?),
            _ => Source::Object(self.shared.objects.open(url, self.size, at, version).await?),
        };
        Ok(Open { source, _permit: permit })
    }

    /// The next bytes of the download, which is started where there is none.
    async fn next(&mut self) -> Result<Vec<u8>, Failure> {
        if self.open.is_none() {
            self.open = Some(self.request().await?);
        }
        let chunk = match self.open.as_mut().map(|open| &mut open.source) {
            Some(Source::Web(body)) => body.chunk().await?,
            Some(Source::Object(chunks)) => {
                let chunk = chunks.next().await.transpose();
                chunk.map_err(|error| Failure::passing(crate::address::masked(&error.to_string())))?
            }
            None => None,
        };
        chunk.ok_or_else(|| {
            let (arrived, size) = (self.arrived(), self.size);
            Failure::passing(format!("the download ended after {arrived} of {size} bytes"))
        })
    }

    /// Reads the whole file.
    pub(crate) async fn whole(mut self) -> pipe_stage::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < self.size {
            self.fill().await.map_err(|failure| failure.into_error(&self.remote.shown()))?;
            bytes.append(&mut self.chunk);
            self.at = bytes.len() as u64;
        }
        Ok(bytes)
    }

    /// Waits for more bytes.
    async fn fill(&mut self) -> Result<(), Failure> {
        let limits = self.shared.limits.clone();
        loop {
            match self.next().await {
                Ok(chunk) if chunk.is_empty() => {}
                Ok(chunk) => {
                    if chunk.len() as u64 > self.size - self.arrived() {
                        let how = format!("it has more than {} bytes", self.size);
                        return Err(changed(&self.remote.shown(), &how));
                    }
                    (self.chunk, self.used, self.failed) = (chunk, 0, 0);
                    return Ok(());
                }
                Err(Failure::Passing { pause, .. }) if self.failed + 1 < limits.attempts => {
                    self.failed += 1;
                    // Its connection is given back for as long as this one waits.
                    self.open = None;
                    sleep(limits.pause_after(self.failed, pause)).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.at == self.size {
            self.open = None;
            if self.check.take().is_some_and(|check| !check.holds()) {
                let Remote { version, .. } = &self.remote;
                let message = format!("`{}` arrived with other bytes than {version}", self.remote.shown());
                let error = Error::Machine { action: "download a file".to_owned(), message };
                return Err(io::Error::other(error));
            }
            return Ok(0);
        }
        if self.used == self.chunk.len() {
            let shared = self.shared.clone();
            let shown = self.remote.shown();
            let filled = shared.runtime.block_on(self.fill());
            filled.map_err(|failure| io::Error::other(failure.into_error(&shown)))?;
            shared.pacer.pass(self.chunk.len());
        }
        let read = buffer.len().min(self.chunk.len() - self.used);
        buffer[..read].copy_from_slice(&self.chunk[self.used..self.used + read]);
        if let Some(check) = &mut self.check {
            check.update(&buffer[..read]);
        }
        self.used += read;
        self.at += read as u64;
        Ok(read)
    }
}
