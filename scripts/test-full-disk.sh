#!/usr/bin/env bash
# A file system that fills up: the run says so and ends with 1; after space is made, it ends well.
#
#   scripts/test-full-disk.sh PIPE [MANIFEST [MIB...]]
#
# Runs as root on Linux, since it mounts a tmpfs of each size in MiB. PIPE is the built program. Without MANIFEST,
# a pipeline of commands is used that makes some 60 MB.
set -euo pipefail

pipe=$(realpath "${1:?usage: $0 PIPE [MANIFEST]}")
manifest=${2:+$(realpath "$2")}
sizes=("${@:3}")
[ ${#sizes[@]} -gt 0 ] || sizes=(1 8 16 24 32 48 64 100 150 200)
scratch=$(mktemp -d)
disk=$scratch/disk
mkdir "$disk"
clean_up() {
    mountpoint -q "$disk" && umount "$disk"
    rm -rf "$scratch"
}
trap clean_up EXIT

if [ -n "$manifest" ]; then
    # A copy, so that lock file and links of the project stay as they are.
    export RUST_DOCS=${RUST_DOCS:-$(cd "$(dirname "$manifest")" && rustc --print sysroot)/share/doc/rust/html}
    cp "$(dirname "$manifest")"/*.yaml "$scratch/"
    manifest=$scratch/$(basename "$manifest")
else
    manifest=$scratch/pipeline.yaml
    cat >"$manifest" <<'YAML'
pipeline: large
stages:
  first:
    uses: command
    with: { run: 'seq 1000000 > $PIPE_OUTPUT_text/a; seq 1000001 2000000 > $PIPE_OUTPUT_text/b', outputs: { text: files } }
  second:
    uses: command
    needs: { text: first }
    with: { run: 'sort -r $PIPE_INPUT_text/a > $PIPE_OUTPUT_text/a; sort -r $PIPE_INPUT_text/b > $PIPE_OUTPUT_text/b', outputs: { text: files } }
  third:
    uses: command
    needs: { text: second }
    with: { run: 'cat $PIPE_INPUT_text/a $PIPE_INPUT_text/b | tail -c 9000000 > $PIPE_OUTPUT_text/c', outputs: { text: files } }
YAML
fi
lock=${manifest%.*}.lock

failed() {
    printf 'failed: %s\n' "$1"
    cat "$scratch/told"
    exit 1
}
run() { "$pipe" run "$manifest" --cache "$disk/cache" >/dev/null 2>"$scratch/told"; }
what_was_made() { grep -A3 '"outputs"' "$lock"; }

rm -f "$lock"
mount -t tmpfs -o size=1g tmpfs "$disk"
run || failed 'a run with enough space'
what_was_made >"$scratch/expected"
umount "$disk"

full=0
for mib in "${sizes[@]}"; do
    rm -f "$lock"
    mount -t tmpfs -o "size=${mib}m" tmpfs "$disk"
    code=0
    run || code=$?
    case $code in
    0) printf '%4s MiB: enough\n' "$mib" ;;
    1)
        grep -qi 'no space left\|is full' "$scratch/told" || failed "${mib} MiB: the error does not say that the disk is full"
        [ ! -e "$lock" ] || failed "${mib} MiB: a failed run wrote the lock file"
        full=$((full + 1))
        printf '%4s MiB: full: %s\n' "$mib" "$(grep -m1 '^error' "$scratch/told")"
        ;;
    *) failed "${mib} MiB: exit code $code" ;;
    esac
    mount -o remount,size=1g "$disk"
    run || failed "${mib} MiB: the run after space was made"
    what_was_made | cmp -s - "$scratch/expected" || failed "${mib} MiB: other bytes than with enough space"
    "$pipe" cache verify --cache "$disk/cache" 2>"$scratch/told" || failed "${mib} MiB: damage in the cache"
    left=$(find "$disk/cache/work/tmp" -mindepth 1 | head -3)
    [ -z "$left" ] || failed "${mib} MiB: left over: $left"
    umount "$disk"
done
rm -f "$lock"
[ "$full" -ge 1 ] || { echo 'failed: no size was too small'; exit 1; }
