#!/usr/bin/env bash
# Fuzzes a target, or replays an input that failed: see fuzz/README.md.
#
#   fuzz/run.sh TARGET [SECONDS|FILE]
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:?usage: fuzz/run.sh TARGET [SECONDS|FILE]} what=${2:-600}
# A single input may take ten seconds and 2 GiB; temporary files are in memory.
limits=(-timeout=10 -rss_limit_mb=2048)
[ ! -d /dev/shm ] || export TMPDIR=/dev/shm
# Without a sanitizer: nearly all is safe Rust, and it works with the pinned compiler.
if [ -f "$what" ]; then
    exec cargo fuzz run --sanitizer none "$target" "$what" -- "${limits[@]}"
fi
mkdir -p "fuzz/corpus/$target"
exec cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    "${limits[@]}" -max_total_time="$what"
