#!/usr/bin/env bash
# A user who may start only a few processes and threads: runs end with an error or well, and never with a panic.
#
#   scripts/test-few-threads.sh PIPE
#
# Runs as root on Linux, since it becomes another user. PIPE is the built program.
set -euo pipefail

pipe=$(realpath "${1:?usage: $0 PIPE}")
readonly user=61234
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp "$pipe" "$scratch/pipe"
mkdir "$scratch/project" "$scratch/project/in"
echo 'A text that is long enough for a document.' >"$scratch/project/in/a.txt"
cat >"$scratch/project/pipeline.yaml" <<'YAML'
pipeline: few
observers: ['cat > /dev/null']
stages:
  documents: { uses: ingest, with: { sources: [{ glob: 'in/*.txt', name: s }] } }
  lines:
    uses: command
    needs: { d: documents.documents }
    with: { run: 'ls $PIPE_INPUT_d > $PIPE_OUTPUT_o/list; echo ${secret.WORD:-} > /dev/null', outputs: { o: files } }
YAML
chown -R "$user:$user" "$scratch"

cd "$scratch/project"
as_user() { setpriv --reuid="$user" --regid="$user" --clear-groups env -u PIPE_CACHE "$@"; }
failed=0
for threads in {1..40}; do
    rm -rf .pipe out pipeline.lock
    code=0
    timeout 120 setpriv --reuid="$user" --regid="$user" --clear-groups prlimit --nproc="$threads" "$scratch/pipe" run pipeline.yaml >log 2>&1 || code=$?
    if grep -q 'panicked' log || ((code > 2)); then
        echo "with $threads threads: exit code $code" >&2
        cat log >&2
        exit 1
    fi
    ((code == 0)) || failed=$((failed + 1))
    if ((code == 0)); then
        as_user prlimit --nproc="$threads" "$scratch/pipe" cache verify >log 2>&1 || {
            cat log >&2
            exit 1
        }
    fi
    # What an earlier run left would count as well.
    for _ in {1..50}; do
        pgrep -u "$user" >/dev/null || break
        sleep 0.1
    done
done
if ((failed == 0 || failed == 40)); then
    echo "the limits did not do what they should: $failed of 40 runs failed" >&2
    exit 1
fi
echo "few threads: $failed of 40 runs failed with an error, the others went well"
