//! Owns: what of this machine may show in a result, and what of it a process may use.

/// Names the widest instruction set that kernels use here: `avx512`, `avx2`, `neon` or `portable`.
///
/// `PIPE_INSTRUCTION_SET=portable` in the environment asks for the portable one, as golden digests do.
pub fn instruction_set() -> &'static str {
    use std::sync::OnceLock;
    static FOUND: OnceLock<&str> = OnceLock::new();
    FOUND.get_or_init(|| match std::env::var("PIPE_INSTRUCTION_SET").as_deref() {
        Ok("portable") => "portable",
        _ => detect(),
    })
}

/// Raises the number of files that this process may have open to what the system lets it, within reason; a
/// program calls it when it starts.
///
/// The usual soft limit of 1,024 is for programs that wait with select(2), and stages read more shards than that
/// side by side. Programs that close all descriptors they might have take long under limits in the millions, so
/// there is a bound.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const OPEN_FILES: u64 = 1 << 16;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        // Refused (macOS has a lower bound of its own): then it stays as it was.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> &'static str {
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq");
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    match (avx512, avx2) {
        (true, true) => "avx512",
        (_, true) => "avx2",
        _ => "portable",
    }
}

#[cfg(target_arch = "aarch64")]
fn detect() -> &'static str {
    "neon"
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> &'static str {
    "portable"
}
