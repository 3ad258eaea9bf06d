#!/usr/bin/env bash
# How processor time grows with the input: each stage below gets an input of its worst kind, then twice as much.
#
#   benches/growth.sh [PIPE] [CASE…]
#
# Prints CPU seconds (user + system, children included) of both and their ratio, the median of three rounds. Exits
# with 1 if a ratio is above 2.6: linear time doubles, quadratic time takes four times as long. Works in memory
# (/dev/shm) unless TMPDIR says otherwise: what a disk's file system takes for many small files differs from run to run.
set -euo pipefail
pipe=$(realpath "${1:-target/release/pipe}")
[ $# -eq 0 ] || shift
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ratio_max=2.6
rounds=3

manifest() { printf 'pipeline: growth\nstages:\n%s\n' "$1" >m.yaml; }
pages="  pages: { uses: ingest, with: { sources: [ { glob: 'data/*.jsonl', name: s } ] } }"

# Each case writes `m.yaml` and `data/` for a size, and names the stage to measure; `before` runs first, unmeasured.

# Near-copies of one text: all are of one cluster.
near_copies_size=20000 near_copies_stage=unique near_copies_before=pages
near_copies() {
    manifest "$pages
  unique: { uses: dedup, needs: pages }"
    awk -v size="$1" 'BEGIN {
        for (i = 0; i < 40; i++) text = text "word" i " "
        for (n = 0; n < size; n++) printf "{\"text\": \"%snumber %d\"}\n", text, n
    }' >data/a.jsonl
}

# Documents that share more than half of their text, as pages of one site do, and a large held-out set.
boilerplate_size=16000 boilerplate_stage=sets boilerplate_before=pages
boilerplate() {
    manifest "$pages
  sets: { uses: split, needs: pages, with: { validation: 0.25, test: 0.25 } }"
    awk -v size="$1" 'BEGIN {
        for (i = 0; i < 60; i++) text = text "menu" i " "
        for (n = 0; n < size; n++) {
            own = ""
            for (i = 0; i < 40; i++) own = own " w" (n * 40 + i)
            printf "{\"text\": \"%s%s\"}\n", text, own
        }
    }' >data/a.jsonl
}

# The same, with nearly all of it shared: all held-out documents leak.
leaks_size=16000 leaks_stage=sets leaks_before=pages
leaks() {
    manifest "$pages
  sets: { uses: split, needs: pages, with: { validation: 0.25, test: 0.25 } }"
    awk -v size="$1" 'BEGIN {
        for (i = 0; i < 95; i++) text = text "menu" i " "
        for (n = 0; n < size; n++) printf "{\"text\": \"%s number %d\"}\n", text, n
    }' >data/a.jsonl
}

# A record of many fields, all of them metadata: more than a document may have, so it is rejected.
json_keys_size=1000000 json_keys_stage=pages json_keys_before=
json_keys() {
    manifest "  pages: { uses: ingest, with: { errors_max: 1, sources: [ { glob: 'data/*.jsonl', name: s, columns: { metadata: ['*'] } } ] } }"
    awk -v size="$1" 'BEGIN {
        printf "{\"text\": \"some text\""
        for (n = 0; n < size; n++) printf ", \"k%d\": %d", n, n
        print "}"
    }' >data/a.jsonl
}

# One word of so many letters: for the trainer it is one piece.
long_piece_size=400000 long_piece_stage=vocabulary long_piece_before=pages
long_piece() {
    manifest "$pages
  vocabulary: { uses: tokenizer, needs: pages, with: { vocabulary_size: 4000 } }"
    awk -v size="$1" 'BEGIN {
        srand(1)
        printf "{\"text\": \""
        for (n = 0; n < size; n++) printf "%c", 97 + int(rand() * 26)
        print "\"}"
    }' >data/a.jsonl
}

# Many small shards.
shards_size=2000 shards_stage=unique shards_before=pages
shards() {
    manifest "  pages: { uses: ingest, with: { shard_documents: 1, sources: [ { glob: 'data/*.jsonl', name: s } ] } }
  unique: { uses: dedup, needs: pages }"
    awk -v size="$1" 'BEGIN {
        for (n = 0; n < size; n++) printf "{\"text\": \"document %d is about %d and %d\"}\n", n, n * 7, n * 13
    }' >data/a.jsonl
}

# CPU seconds of a command, in cpu.txt.
TIMEFORMAT='%U %S'
measure() {
    { time "$pipe" run m.yaml "$1" >out.txt 2>&1; } 2>time.txt || { cat out.txt >&2; exit 1; }
    awk '{ print $1 + $2 }' time.txt
}

run_case() {
    local name=$1 size=$2 stage=${1}_stage before=${1}_before
    rm -rf "$folder/project"
    mkdir -p "$folder/project/.pipe" "$folder/project/data"
    cd "$folder/project"
    "$name" "$size"
    if [ -n "${!before}" ]; then
        "$pipe" run m.yaml "${!before}" >out.txt 2>&1 || { cat out.txt >&2; exit 1; }
    fi
    measure "${!stage}"
    cd "$folder"
}

failed=0
[ $# -gt 0 ] || set -- near_copies boilerplate leaks json_keys long_piece shards
for name in "$@"; do
    size=${name}_size
    for _ in $(seq "$rounds"); do
        once=$(run_case "$name" "${!size}")
        twice=$(run_case "$name" $((2 * ${!size})))
        echo "$once $twice"
    done | awk '{ print $2 / ($1 > 0.05 ? $1 : 0.05), $0 }' | sort -n | sed -n "$(((rounds + 1) / 2))p" >"$folder/median"
    awk -v name="$name" -v size="${!size}" -v max="$ratio_max" '{
        mark = ($1 > max) ? "  TOO MUCH" : ""
        printf "%-12s %7d: %6.2f s  %7d: %6.2f s  ratio %.2f%s\n", name, size, $2, 2 * size, $3, $1, mark
        exit ($1 > max)
    }' "$folder/median" || failed=1
done
exit "$failed"
