# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Helpers for tests/cli/test_*.sh. A test begins with
#     set -euo pipefail
#     . "$(dirname "$0")/lib.sh"
# and is called as: test_NAME.sh BINARY. It sets
#     $cozad   the binary, absolute      $tmp   an empty folder, removed at the end (COZAD_KEEP=1 keeps it)
#     $root    the source tree           $data  outside data, may not exist
# The user's caches and weights stay out of it: HOME, XDG_CACHE_HOME and COZAD_HOME point below $tmp.

# shellcheck disable=SC2034  # some are for the tests that read this file
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cozad=$(realpath "${1:-$root/build/release/bin/cozad}")
data=${COZAD_TEST_DATA:-$root/../shared}
tmp=$(mktemp -d)
_finish() {
    local code=$?
    if [ -n "${COZAD_KEEP:-}" ]; then echo "kept: $tmp"; else rm -rf "$tmp"; fi
    exit "$code"
}
trap _finish EXIT
mkdir -p "$tmp/home"
export HOME=$tmp/home XDG_CACHE_HOME=$tmp/home/.cache COZAD_HOME=$tmp/home/cozad LC_ALL=C

fail() {
    echo "FAILED: $*" >&2
    if [ -s "$tmp/out" ]; then echo "--- stdout"; head -n 20 "$tmp/out"; fi >&2
    if [ -s "$tmp/err" ]; then echo "--- stderr"; head -n 20 "$tmp/err"; fi >&2
    exit 1
}

skip() {
    echo "skipped: $*"
    exit 77
}

# expect CODE COMMAND… runs it with stdout in $tmp/out, stderr in $tmp/err, and checks the exit code.
expect() {
    local wanted=$1 code=0
    shift
    "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || code=$?
    [ "$code" = "$wanted" ] || fail "exit code $code, wanted $wanted: $*"
}

# The last command said exactly one line on stderr, beginning with "cozad: " and matching the pattern given.
one_line() {
    [ "$(wc -l <"$tmp/err")" = 1 ] || fail "not one line on stderr"
    grep -q '^cozad: ' "$tmp/err" || fail "stderr does not begin with 'cozad: '"
    grep -qE -- "$1" "$tmp/err" || fail "stderr does not match: $1"
}

stdout_has() { grep -qE -- "$1" "$tmp/out" || fail "stdout does not match: $1"; }
stderr_has() { grep -qE -- "$1" "$tmp/err" || fail "stderr does not match: $1"; }
