//! Bytes of a remote file, from one request or, where downloads break off, from several.

use crate::address::Scheme;
use crate::failure::{Failure, changed};
use crate::http::Body;
use crate::limits::Speed;
use crate::objects::Chunks;
use crate::servers::Shared;
use crate::version::Check;
use futures_util::{
    StreamExt,
    future::{self, Either},
};
use pipe_stage::{Error, Remote, Stop};
use std::{
    io::{self, Read},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::OwnedSemaphorePermit, time::sleep};

/// How often a download asks whether to stop.
const STOP_EVERY: Duration = Duration::from_millis(200);

/// A download in progress.
struct Open {
    source: Source,
    speed: Speed,
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
    /// Attempts that were given up since bytes arrived slower than they may.
    slow: u32,
    /// Whether the server has nothing beyond the last byte.
    is_whole: bool,
    stop: Stop,
    /// For a file that is read from its beginning.
    check: Option<Check>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, remote: &Remote, size: u64, at: u64, stop: &Stop) -> Self {
        let check = (at == 0).then(|| Check::new(&remote.version, size));
        let (remote, stop) = (remote.clone(), stop.clone());
        let (chunk, used, open, failed, slow, is_whole) = (Vec::new(), 0, None, 0, 0, false);
        Self { shared, remote, size, at, chunk, used, open, failed, slow, is_whole, stop, check }
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
        Ok(Open { source, speed: Speed::new(&self.shared.limits), _permit: permit })
    }

    /// The next bytes of the download, which is started where there is none; `None` at the end of the file.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let (arrived, size) = (self.arrived(), self.size);
        if self.open.is_none() {
            // Object stores state the size with each answer, and have no answer about what is behind it.
            if arrived == size && !self.is_web() {
                return Ok(None);
            }
            self.open = Some(self.request().await?);
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        let asked = Instant::now();
        let (chunk, skipped) = match &mut open.source {
            Source::Web(body) => (body.chunk().await?, body.take_skipped()),
            Source::Object(chunks) => {
                let chunk = chunks.next().await.transpose();
                (chunk.map_err(|error| Failure::passing(crate::address::masked(&error.to_string())))?, 0)
            }
        };
        let is_fast = |chunk: &Vec<u8>| open.speed.suffices(asked.elapsed(), skipped + chunk.len() as u64);
        let is_slow = !chunk.as_ref().is_none_or(is_fast);
        match chunk {
            None if arrived < size => {
                Err(Failure::passing(format!("the download ended after {arrived} of {size} bytes")))
            }
            None => Ok(None),
            Some(chunk) if chunk.len() as u64 > size - arrived => {
                Err(changed(&self.remote.shown(), &format!("it has more than {size} bytes")))
            }
            Some(chunk) => {
                if is_slow {
                    self.slow += 1;
                    // Another request may reach another server.
                    self.open = None;
                    if self.slow >= self.shared.limits.attempts {
                        return Err(Failure::passing(self.shared.limits.too_slow()));
                    }
                }
                Ok(Some(chunk))
            }
        }
    }

    fn is_web(&self) -> bool {
        Scheme::of(&self.remote.url).is_ok_and(|scheme| scheme == Scheme::Web)
    }

    /// Reads the whole file.
    pub(crate) async fn whole(mut self) -> pipe_stage::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            self.fill().await.map_err(|failure| failure.into_error(&self.remote.shown()))?;
            if self.is_whole {
                break;
            }
            bytes.append(&mut self.chunk);
            self.at = bytes.len() as u64;
        }
        Ok(bytes)
    }

    /// Waits for more bytes, or for the end of the file.
    async fn fill(&mut self) -> Result<(), Failure> {
        let limits = self.shared.limits.clone();
        loop {
            match self.next().await {
                Ok(Some(chunk)) if chunk.is_empty() => {}
                Ok(Some(chunk)) => {
                    (self.chunk, self.used, self.failed) = (chunk, 0, 0);
                    return Ok(());
                }
                Ok(None) => {
                    (self.is_whole, self.open) = (true, None);
                    return Ok(());
                }
                Err(Failure::Passing { pause, .. })
                    if self.failed + 1 < limits.attempts && self.slow < limits.attempts =>
                {
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

impl Reader {
    /// As [`Self::fill`], at the speed that is allowed, and not beyond a stop.
    fn wait(&mut self) -> pipe_stage::Result<()> {
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        let shown = self.remote.shown();
        let filled = async {
            self.fill().await.map_err(|failure| failure.into_error(&shown))?;
            shared.pacer.pass(self.chunk.len() - self.used).await;
            Ok(())
        };
        let stopped = async {
            while !stop.is_asked() {
                sleep(STOP_EVERY).await;
            }
        };
        shared.run(async {
            match future::select(pin!(stopped), pin!(filled)).await {
                Either::Left(_) => Err(Error::Interrupted),
                Either::Right((filled, _)) => filled,
            }
        })
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.used == self.chunk.len() && !self.is_whole {
            self.wait().map_err(io::Error::other)?;
        }
        if self.is_whole {
            if self.check.take().is_some_and(|check| !check.holds()) {
                let Remote { version, .. } = &self.remote;
                let message = format!("`{}` arrived with other bytes than {version}", self.remote.shown());
                let error = Error::Machine { action: "download a file".to_owned(), message };
                return Err(io::Error::other(error));
            }
            return Ok(0);
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
