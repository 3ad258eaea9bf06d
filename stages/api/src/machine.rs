//! Owns: what of this machine may show in a result.

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
