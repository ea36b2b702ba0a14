#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The server's openapi.json in the hands of programs that are not this project's: openapi-client-axios makes a client from it, Ajv compares
# every answer with its schema. COZAD_CLIENT_WORK: a folder where they are kept from one run to the next.
set -euo pipefail
home=$HOME # npm's settings are there
. "$(dirname "$0")/../cli/lib.sh"
. "$(dirname "$0")/../cli/make_small.sh"
here=$(cd "$(dirname "$0")" && pwd)
if "$cozad" serve -m none 2>&1 | grep -q "built without"; then skip "built without serve"; fi
command -v node >/dev/null || skip "node is not installed"
command -v npm >/dev/null || skip "npm is not installed"
work=${COZAD_CLIENT_WORK:-${COZAD_BUILD_DIR:+$COZAD_BUILD_DIR/tests/client}}
work=${work:-$tmp/client}
mkdir -p "$work"
if ! cmp -s "$here/client/package-lock.json" "$work/installed"; then
    cp "$here/client/package.json" "$here/client/package-lock.json" "$work/"
    (cd "$work" && HOME=$home npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1) ||
        skip "npm cannot bring the client: $(grep -m 1 -i error "$work/npm.log" || tail -n 1 "$work/npm.log")"
    cp "$here/client/package-lock.json" "$work/installed"
fi

make_scenes
expect 0 train_small "$tmp/plain.cozad"
"$cozad" synth "$tmp/held" --scenes cloth --normal 32 --test-good 1 --test-bad 1 --size 96 --seed 99 >/dev/null
expect 0 "$cozad" calibrate -m "$tmp/plain.cozad" --normal "$tmp/held/cloth/train/good" --threads 1 --fpr 0.1 -o "$tmp/cloth.cozad"
photo=$scenes/cloth/test/good/000.png
expect 0 "$cozad" score -m "$tmp/cloth.cozad" --backbone random:resnet18:1 "$photo" --json --no-cache --threads 1
score=$(grep -oE '"score": ?-?[0-9.e-]+' "$tmp/out" | head -n 1 | sed 's/.*: *//')

server=
trap 'if [ -n "$server" ]; then kill -KILL "$server"; fi; _finish' EXIT
unset OMP_WAIT_POLICY
"$cozad" serve --port 0 -m "$tmp/cloth.cozad" --state-dir "$tmp/state" --backbone random:resnet18:1 --threads 1 \
    >"$tmp/address" 2>"$tmp/log" </dev/null &
server=$!
for _ in $(seq 600); do
    if [ -s "$tmp/address" ]; then break; fi
    kill -0 "$server" 2>/dev/null || fail "the server did not start: $(cat "$tmp/log")"
    sleep 0.1
done
url=$(sed -n 's,^cozad: serving on \(http://[0-9.:]*\)/$,\1,p' "$tmp/address")
[ -n "$url" ] || fail "no address: $(cat "$tmp/address" "$tmp/log")"
NODE_PATH=$work/node_modules node "$here/client/client.test.js" "$url" cloth "$photo" "$score" || fail "the client"
code=0
kill -TERM "$server"
wait "$server" || code=$?
server=
[ "$code" = 0 ] || fail "the server ended with $code: $(tail -n 3 "$tmp/log")"
echo PASS
