#!/usr/bin/env bash
# What the engine costs: 10,000 commands in 100 chains, by pipe and by ninja, in one run. No two make the same bytes, since
# those would run once.
#
#   benches/ten-thousand-commands.sh [STAGES] [PIPE]
#
# Works in a folder below TMPDIR. ext4 without a journal passes over inodes that were deleted a moment ago, one by one, so
# there each temporary file costs several times what it does elsewhere; /dev/shm shows the engine alone.
#
# Prints CPU seconds (user + system, children included) and peak memory of: reading and checking the manifest, the
# first run of both, and a second run of both, which has nothing to do. ninja (apt: ninja-build) neither hashes
# nor keeps what it made, and its commands write files in place; it is a floor and no peer.
set -euo pipefail
stages=${1:-10000}
pipe=$(realpath "${2:-target/release/pipe}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir .git

chains=100
awk -v stages="$stages" -v chains="$chains" 'BEGIN {
    print "pipeline: many\nstages:"
    for (i = 0; i < stages; i++) {
        needs = i < chains ? "" : sprintf(", needs: { a: s%d }", i - chains)
        first = i < chains ? "" : "cp $PIPE_INPUT_a/o $PIPE_OUTPUT_o/o; "
        run = sprintf("%secho %d >> $PIPE_OUTPUT_o/o", first, i)
        printf "  s%d: { uses: command%s, with: { run: \"%s\", outputs: { o: files } } }\n", i, needs, run
    }
}' >many.yaml
awk -v stages="$stages" -v chains="$chains" 'BEGIN {
    print "rule first\n  command = echo $n > $out\nrule next\n  command = cp $in $out; echo $n >> $out"
    for (i = 0; i < stages; i++)
        if (i < chains) printf "build s%d: first\n  n = %d\n", i, i
        else printf "build s%d: next s%d\n  n = %d\n", i, i - chains, i
}' >build.ninja

measure() {
    local name=$1
    shift
    /usr/bin/time -f '%e %U %S %M' -o time.txt "$@" >out.txt 2>&1 || { cat out.txt; exit 1; }
    awk -v name="$name" '{ printf "%-28s %8.2f s  %8.2f s of CPU  %6.0f MiB\n", name, $1, $2 + $3, $4 / 1024 }' \
        <(tail -1 time.txt)
}
echo "$stages commands in $chains chains, $(nproc) cores"
measure 'pipe check' "$pipe" check many.yaml
measure 'pipe run' "$pipe" run many.yaml
command -v ninja >/dev/null && measure 'ninja' ninja -j "$(nproc)"
sleep 2.5 # until stamps are trusted
measure 'pipe run, nothing to do' "$pipe" run many.yaml
command -v ninja >/dev/null && measure 'ninja, nothing to do' ninja -j "$(nproc)"
measure 'pipe plan' "$pipe" plan many.yaml
