#!/usr/bin/env bash
# 10,000 documents in 10,000 files and 4,000 shards, through ingest, dedup and split with at most 256 open files.
#
#   benches/many-files.sh [DOCUMENTS] [PIPE]
#
# Each tenth document is a copy of the one before, all others are distinct. Prints wall time, CPU seconds and peak memory
# of each stage. Fails if the same documents in a few shards give another outcome: `dedup` and `split` must keep the same
# ids with the same text, and remove and leave out the same, however many shards there are.
set -euo pipefail
documents=${1:-10000}
pipe=$(realpath "${2:-target/release/pipe}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir .pipe data
ulimit -n 256

# Borders follow hashes, so that shards of at most three documents hold about two.
manifest() {
    cat <<M
pipeline: $1
stages:
  pages: { uses: ingest, with: { shard_documents: $2, sources: [ { glob: "data/**/*.txt", name: s } ] } }
  unique: { uses: dedup, needs: pages }
  sets: { uses: split, needs: unique, with: { validation: 0.1, test: 0.1 } }
M
}
manifest many 3 >many.yaml
manifest few 5000 >few.yaml
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

fail() {
    echo "$1" >&2
    exit 1
}

for stage in pages unique sets; do
    /usr/bin/time -f '%e %U %S %M' -o time.txt "$pipe" run many.yaml "$stage" >out.txt 2>&1 || { cat out.txt; exit 1; }
    awk -v name="$stage" '{ printf "%-8s %8.2f s  %8.2f s of CPU  %6.0f MiB\n", name, $1, $2 + $3, $4 / 1024 }' \
        <(tail -1 time.txt)
done
"$pipe" run few.yaml >out.txt 2>&1 || { cat out.txt; exit 1; }

# The value of a metric of a stage.
metric() { "$pipe" show "$1.yaml" "$2" --json | tr -d ' \n' | grep -o "\"name\":\"$3\",\"value\":[0-9]*" | grep -o '[0-9]*$'; }

shards=$(metric many pages shards)
echo "$shards shards"
[ "$shards" -ge $((documents * 2 / 5)) ] || fail "there are only $shards shards"
for pipeline in many few; do
    [ "$(metric $pipeline pages documents)" -eq "$documents" ] || fail "$pipeline: a document was lost by ingest"
    [ "$(metric $pipeline unique documents)" -eq $((documents - documents / 10)) ] || fail "$pipeline: dedup kept a wrong number"
    [ "$(metric $pipeline unique removed_exact)" -eq $((documents / 10)) ] || fail "$pipeline: dedup removed a wrong number"
    total=0
    for set in train validation test leaked; do total=$((total + $(metric $pipeline sets $set))); done
    [ "$total" -eq $((documents - documents / 10)) ] || fail "$pipeline: split has $total documents"
done

# What an output holds, a line for each document.
lines() {
    case $2 in
    *.removed | *.leaked)
        "$pipe" get "$1.yaml" "$2" "got/$1/$2" >out.txt 2>&1
        find "got/$1/$2" -name '*.jsonl' -exec cat {} + ;;
    *) "$pipe" data sample "$1.yaml" "$2" -n "$documents" --characters 10000 --json 2>out.txt ;;
    esac | sort >"got/$1.$2.txt"
}
mkdir got
for output in unique.documents unique.removed sets.train sets.validation sets.test sets.leaked; do
    for pipeline in many few; do lines $pipeline $output; done
    cmp "got/many.$output.txt" "got/few.$output.txt" || fail "$output differs between many shards and few"
    echo "$output: $(wc -l <"got/many.$output.txt") lines, the same from many shards and few"
done
