#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The page of cozad serve in a headless browser: against a stand-in for the server, and against the server itself, which trains, with a
# network of random weights. COZAD_PAGE_WORK: a folder where playwright-core is kept from one run to the next.
set -euo pipefail
home=$HOME # npm's settings are there
. "$(dirname "$0")/../cli/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
if "$cozad" serve -m none 2>&1 | grep -q "built without"; then skip "built without serve"; fi
work=${COZAD_PAGE_WORK:-${COZAD_BUILD_DIR:+$COZAD_BUILD_DIR/tests/page}}
work=${work:-$tmp/page}
drive() { # [URL]
    local code=0
    HOME=$home bash "$here/page/run.sh" "$work" "$@" 2>&1 | tee "$tmp/out" || code=$?
    [ "$code" != 77 ] || exit 77
    [ "$code" = 0 ] || { [ ! -s "$tmp/log" ] || tail -n 20 "$tmp/log" >&2; fail "the page${1:+ of the server}"; }
    [ "$(tail -n 1 "$tmp/out")" = "page: passed" ] || fail "the test of the page did not end"
}
drive

server=
trap 'if [ -n "$server" ]; then kill -KILL "$server"; fi; _finish' EXIT
unset OMP_WAIT_POLICY
export TOKEN=0123456789abcdef-of-the-test
echo "$TOKEN" >"$tmp/token"
chmod 600 "$tmp/token"
"$cozad" serve --port 0 --state-dir "$tmp/state" --backbone random:resnet18:1 --auth-token-file "$tmp/token" --threads 2 \
    >"$tmp/address" 2>"$tmp/log" </dev/null &
server=$!
for _ in $(seq 600); do
    if [ -s "$tmp/address" ]; then break; fi
    kill -0 "$server" 2>/dev/null || fail "the server did not start: $(cat "$tmp/log")"
    sleep 0.1
done
url=$(sed -n 's,^cozad: serving on ,,p' "$tmp/address")
[ -n "$url" ] || fail "no address: $(cat "$tmp/address" "$tmp/log")"
drive "$url"
! grep -q "$TOKEN" "$tmp/log" || fail "the token is in the log"
code=0
kill -TERM "$server"
wait "$server" || code=$?
server=
[ "$code" = 0 ] || fail "the server ended with $code: $(tail -n 3 "$tmp/log")"
[ "$(grep -c ' error ' "$tmp/log")" = 0 ] || fail "errors in the log: $(grep ' error ' "$tmp/log")"
echo PASS
