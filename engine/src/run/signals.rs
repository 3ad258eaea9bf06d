//! Owns: signals that ask this process to stop: SIGINT, SIGTERM and SIGHUP, treated alike.

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    fs, io,
    sync::{Arc, atomic::AtomicBool},
    thread,
};

/// Calls a function for each request to stop this process.
///
/// A terminal that closes sends SIGHUP more than once, so a SIGHUP counts only if it is the first request; if it was
/// ignored when the process started (`nohup`), it stays ignored.
pub fn on_stop(mut ask: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut kinds = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        kinds.push(SIGHUP);
    }
    let mut signals = Signals::new(kinds)?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut is_asked = false;
        for signal in signals.forever() {
            if signal != SIGHUP || !is_asked {
                ask();
            }
            is_asked = true;
        }
    })?;
    Ok(())
}

/// Makes a file that grows beyond the limit of the process (`ulimit -f`) an error of the write, as a full disk is, and
/// not the end of the process. Programs that it starts meet the signal as they always do.
pub fn survive_file_size_limit() {
    // A signal that cannot be taken is one that ends the process, as before.
    let _ = signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Whether this process ignores a signal; no where the system does not tell.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
