//! Why a request did not succeed, and whether another may.

use crate::address::file_name;
use crate::version::{self, Sent};
use pipe_stage::{Error, shown};
use std::time::Duration;

/// Why there is no answer, or none that is of use.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The same request may succeed later, not before the pause that the server asks for.
    Passing { message: String, pause: Option<Duration> },
    /// It cannot.
    Lasting(Error),
}

impl Failure {
    pub(crate) fn passing(message: impl Into<String>) -> Self {
        Self::Passing { message: message.into(), pause: None }
    }

    pub(crate) fn lasting(message: impl Into<String>, help: &str) -> Self {
        Self::Lasting(Error::input(message).help(help))
    }

    /// The error after the last attempt at `shown`.
    pub(crate) fn into_error(self, shown: &str) -> Error {
        match self {
            Self::Passing { message, .. } => Error::Machine { action: format!("read `{shown}`"), message },
            Self::Lasting(error) => error,
        }
    }
}

/// What to do about a file that is no longer the one that was listed.
const HELP: &str = "accept what is there now with `pipe run --update-pins`";

/// A file is no longer what was listed.
pub(crate) fn changed(shown: &str, how: &str) -> Failure {
    Failure::lasting(format!("the remote file `{shown}` changed since it was pinned: {how}"), HELP)
}

/// The bytes that an answer has are those of the version that was listed, or this is why not.
pub(crate) fn same_version(
    shown: &str,
    listed: &str,
    etag: Option<&str>,
    modified: Option<&str>,
) -> Result<(), Failure> {
    match version::sent(listed, etag, modified) {
        Sent::Same => Ok(()),
        Sent::Other(now) => Err(changed(shown, &format!("its version was {listed} and is {now}"))),
        Sent::Unsaid => Err(Failure::lasting(
            format!(
                "the server sends `{shown}` without its version, so that it may be another file than the one that was \
                 pinned ({listed})"
            ),
            "download the file, and name it with its path",
        )),
    }
}

/// The bytes of an answer are those that the name of the file promises, or this is why not: a server may have stored them
/// compressed (`Content-Encoding`), for programs that would not notice.
pub(crate) fn as_named(url: &str, encoding: Option<&str>) -> Result<(), Failure> {
    let encoding = encoding.map(str::trim).filter(|encoding| !encoding.is_empty()).unwrap_or("identity");
    let endings: &[&str] = match encoding.to_ascii_lowercase().as_str() {
        "identity" | "aws-chunked" => return Ok(()),
        "gzip" | "x-gzip" => &[".gz", ".tgz"],
        "zstd" => &[".zst", ".zstd"],
        _ => &[],
    };
    let name = file_name(url).to_ascii_lowercase();
    if endings.iter().any(|ending| name.ends_with(ending)) {
        return Ok(());
    }
    Err(Failure::lasting(
        format!(
            "the server has `{}` compressed (`Content-Encoding: {encoding}`), unlike its name",
            shown(url)
        ),
        "store it without this header, under a name that says how it is compressed, such as `.jsonl.gz`; or download and \
         decompress it, and name it with its path",
    ))
}

/// A file is gone.
pub(crate) fn gone(shown: &str) -> Failure {
    Failure::lasting(
        format!("there is no file `{shown}`"),
        "correct the address; if it was there before, `pipe run --update-pins` lists again what is there now",
    )
}
