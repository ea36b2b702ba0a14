#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The page of cozad serve in a headless browser: run.sh WORK [URL]. WORK: a folder for playwright-core, which npm brings there. URL: a
# running server with --state-dir, and with the token TOKEN of the environment if there is one; without it the page is tested alone, with a
# stand-in for the server. COZAD_SHOTS=FOLDER keeps pictures. Ends with 77 where something that it needs is not there.
set -euo pipefail
work=${1:?usage: run.sh WORK [URL]}
url=${2:-}
here=$(cd "$(dirname "$0")" && pwd)

skip() {
    echo "skipped: $*"
    exit 77
}
command -v node >/dev/null || skip "node is not installed"
command -v npm >/dev/null || skip "npm is not installed"
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || true)}
[ -n "$CHROMIUM" ] || skip "chromium is not installed"
export CHROMIUM

mkdir -p "$work/page"
if ! cmp -s "$here/package-lock.json" "$work/page/installed"; then
    cp "$here/package.json" "$here/package-lock.json" "$work/page/"
    (cd "$work/page" && npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1) ||
        skip "npm cannot bring playwright-core: $(grep -m 1 -i error "$work/page/npm.log" || tail -n 1 "$work/page/npm.log")"
    cp "$here/package-lock.json" "$work/page/installed"
fi
export NODE_PATH=$work/page/node_modules

server=
finish() {
    local code=$?
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    exit "$code"
}
trap finish EXIT
if [ -z "$url" ]; then
    coproc MOCK_SERVER { exec node "$here/mock.js"; }
    server=$MOCK_SERVER_PID
    read -r url <&"${MOCK_SERVER[0]}"
    export MOCK=1
fi
shots=()
[ -z "${COZAD_SHOTS:-}" ] || shots=(--shots "$COZAD_SHOTS")
node "$here/page.test.js" "${shots[@]}" "$url"
