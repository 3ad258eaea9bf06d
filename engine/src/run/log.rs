//! Owns: the logs of a run's stages: one file per stage, with a line between two attempts.

use pipe_stage::Error;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Where in its log the last attempt of each stage begins.
#[derive(Default)]
pub(super) struct Logs(BTreeMap<PathBuf, u64>);

impl Logs {
    /// Begins an attempt. If the log already has text, a line `--- HEADING ---` follows it.
    pub(super) fn begin(&mut self, log: &Path, heading: &str) -> Result<(), Error> {
        let start = separate(log, heading).map_err(|error| Error::io("write to", log, &error))?;
        self.0.insert(log.to_owned(), start);
        Ok(())
    }

    /// Reads the end of a log, without the attempts before the last one.
    pub(super) fn tail(&self, log: &Path) -> String {
        const TAIL_BYTES: u64 = 4 << 10;
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(log)?;
            let start = self.0.get(log).copied().unwrap_or_default();
            let from = file.metadata()?.len().saturating_sub(TAIL_BYTES).max(start);
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => format!("cannot read the log `{}`: {error}", log.display()),
        }
    }
}

/// Appends the line to a log that has text; returns the length of the file afterwards.
fn separate(log: &Path, heading: &str) -> io::Result<u64> {
    let mut file = File::options().read(true).append(true).create(true).open(log)?;
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        let ending = if last == *b"\n" { "" } else { "\n" };
        writeln!(file, "{ending}--- {heading} ---")?;
    }
    Ok(file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn attempts_follow_each_other_and_the_tail_is_of_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("stage.log");
        let mut logs = Logs::default();
        assert_eq!(logs.tail(&log), "");
        for (heading, text) in [("attempt 1 of 3", "a"), ("attempt 2 of 3", "b\n"), ("attempt 3 of 3", "")] {
            logs.begin(&log, heading).unwrap();
            File::options().append(true).open(&log).unwrap().write_all(text.as_bytes()).unwrap();
            assert_eq!(logs.tail(&log), text);
        }
        let whole = fs::read_to_string(&log).unwrap();
        assert_eq!(whole, "a\n--- attempt 2 of 3 ---\nb\n--- attempt 3 of 3 ---\n");
    }
}
