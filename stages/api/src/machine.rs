//! Properties of this machine that may affect a result, and limits that a process may use.

/// Names the widest instruction set that kernels use on this machine: `avx512`, `avx2`, `neon` or `portable`.
///
/// The environment variable `PIPE_INSTRUCTION_SET=portable` selects the portable one; golden tests use it.
pub fn instruction_set() -> &'static str {
    use std::sync::OnceLock;
    static FOUND: OnceLock<&str> = OnceLock::new();
    FOUND.get_or_init(|| match std::env::var("PIPE_INSTRUCTION_SET").as_deref() {
        Ok("portable") => "portable",
        _ => detect(),
    })
}

/// Raises the soft limit of open files of this process, up to the hard limit and a fixed maximum. A program calls it
/// at start.
///
/// The usual soft limit of 1,024 exists for programs that use select(2), and stages read more shards than that at the
/// same time. The maximum exists because programs that close all possible descriptors are slow with limits in the
/// millions.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const OPEN_FILES: u64 = 1 << 16;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        // If the system refuses (macOS has a lower maximum), the limit stays as it is.
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
