#!/usr/bin/env bash
# Lints and documents everything, with the GPU backends turned on. Needs no GPU, and no LLVM.
#
# burn's `cuda` depends on cubecl-llvm, whose build scripts download LLVM. They return at once when DOCS_RS is set
# (upstream's switch for docs.rs), which is enough to type-check. What is made that way must not end up in an
# ordinary build with cuda, hence a target folder of its own. To build for a GPU: cargo build --release --features cuda
#
#   scripts/check-backends.sh [TARGET]
#
# TARGET is a target folder that is never used for cuda: what it has of proc macros and build scripts is used.
set -euo pipefail
cd "$(dirname "$0")/.."
export DOCS_RS=1 CARGO_TARGET_DIR=${1:-target/backends}
cargo clippy --release --workspace --all-targets --features wgpu,cuda -- -D warnings
RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps --features wgpu,cuda
