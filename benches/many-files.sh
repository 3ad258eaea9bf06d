#!/usr/bin/env bash
# 10,000 documents in 10,000 files and thousands of shards, through dedup and split with at most 256 open files.
#
#   benches/many-files.sh [DOCUMENTS] [PIPE]
#
# Prints wall time, CPU seconds and peak memory of each stage, and fails if a document is lost: each tenth is a copy
# of the one before, all others are distinct.
set -euo pipefail
documents=${1:-10000}
pipe=$(realpath "${2:-target/release/pipe}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir .pipe data
ulimit -n 256

cat >m.yaml <<'M'
pipeline: many
stages:
  pages: { uses: ingest, with: { shard_documents: 4, sources: [ { glob: "data/**/*.txt", name: s } ] } }
  unique: { uses: dedup, needs: pages }
  sets: { uses: split, needs: unique, with: { validation: 0.1, test: 0.1 } }
M
awk -v documents="$documents" 'BEGIN {
    srand(1)
    for (n = 0; n < documents; n++) {
        if (n % 10 != 9) {
            text = "Document " n ":"
            for (i = 0; i < 60; i++) text = text " w" int(rand() * 20000)
        }
        file = sprintf("data/%d/%d.txt", n / 1000, n)
        if (n % 1000 == 0) system("mkdir -p data/" n / 1000)
        print text > file
        close(file)
    }
}'

for stage in pages unique sets; do
    /usr/bin/time -f '%e %U %S %M' -o time.txt "$pipe" run m.yaml "$stage" >out.txt 2>&1 || { cat out.txt; exit 1; }
    awk -v name="$stage" '{ printf "%-8s %8.2f s  %8.2f s of CPU  %6.0f MiB\n", name, $1, $2 + $3, $4 / 1024 }' \
        <(tail -1 time.txt)
done
"$pipe" show m.yaml pages | head -3
