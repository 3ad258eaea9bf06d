#!/usr/bin/env bash
# Disturbs runs in every way that a machine can, for as long as asked, and checks that no result is lost or wrong.
#
#   scripts/soak.sh MINUTES [PIPE [OPTION…]]
#
# PIPE is the built program, target/release/pipe if it is not given. `scripts/soak.py --help` lists the options.
# Needs Linux and Python 3. Run by root, it also fills up a disk (a tmpfs of its own).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
minutes=${1:?usage: $0 MINUTES [PIPE [OPTION…]]}
shift
exec python3 "$here/soak.py" --minutes "$minutes" "$@"
