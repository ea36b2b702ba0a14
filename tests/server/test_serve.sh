#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad serve as a program: usage, the address it prints, the page, TLS, signals, the log. No model is needed for these.
set -euo pipefail
. "$(dirname "$0")/../cli/lib.sh"
command -v curl >/dev/null || skip "there is no curl"
server=
stop() { [ -z "$server" ] || kill -9 "$server" 2>/dev/null || true; }
trap 'stop; _finish' EXIT

# Starts it in the background; $url is what it printed, $server its process.
serve() {
    : >"$tmp/stdout"
    "$cozad" serve --state-dir "$tmp/state" --port 0 "$@" >"$tmp/stdout" 2>"$tmp/log" </dev/null &
    server=$!
    for _ in $(seq 300); do
        grep -q '^cozad: serving on ' "$tmp/stdout" && break
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    url=$(sed -n 's/^cozad: serving on //p' "$tmp/stdout")
    [ -n "$url" ] || { cat "$tmp/log" >&2; fail "it did not start: $*"; }
}
ends_with() { # CODE after SIGNAL
    local code=0
    kill "-$2" "$server"
    wait "$server" || code=$?
    server=
    [ "$code" = "$1" ] || { cat "$tmp/log" >&2; fail "exit code $code after SIG$2, wanted $1"; }
}
status() { curl -s -o "$tmp/body" -w '%{http_code}' --max-time 20 "$@"; }

# ---- usage ------------------------------------------------------------------------------------------------------
expect 2 "$cozad" serve && one_line 'needs -m MODEL'
expect 2 "$cozad" serve part.cozad && one_line 'takes models by -m'
expect 2 "$cozad" serve --state-dir "$tmp/state" --host 0.0.0.0 --port 0 && one_line 'auth-token-file .*--insecure'
expect 2 "$cozad" serve --state-dir "$tmp/state" --port 65536 && one_line 'port'
expect 2 "$cozad" serve --state-dir "$tmp/state" --timeout 0 && one_line 'timeout'
expect 2 "$cozad" serve --state-dir "$tmp/state" --max-body 0 && one_line 'max-body'
expect 2 "$cozad" serve --state-dir "$tmp/state" --tls-cert x && one_line 'belong together'
expect 2 "$cozad" serve --state-dir "$tmp/state" --anomalies-only && one_line 'webhook'
expect 2 "$cozad" serve --state-dir "$tmp/state" --port 0 --auth-token-file "$tmp/missing" && one_line 'cannot open'
expect 4 "$cozad" serve --port 0 -m "$root/README.md"
expect 0 "$cozad" serve --help && stdout_has '^  cozad serve -m part.cozad$'

# ---- a plain one --------------------------------------------------------------------------------------------------
serve
[ "$(status "$url")" = 200 ] || fail "the page"
grep -q '<html' "$tmp/body" || fail "the page is no HTML"
[ "$(status "${url}v2/health/live")" = 200 ] || fail "live"
[ "$(status "${url}api/session")" = 200 ] || fail "session"
grep -q '"auth":false' "$tmp/body" || fail "session: auth"
[ "$(status -H 'Host: evil.example' "$url")" = 421 ] || fail "Host"
[ "$(status -X POST -H 'Origin: http://evil.example' "${url}score")" = 403 ] || fail "Origin"
curl -sI "$url" >"$tmp/head"
grep -qi "^content-security-policy: default-src 'none'; script-src 'self';" "$tmp/head" || fail "no policy of the page"
etag=$(sed -n 's/^ETag: \(.*\)\r$/\1/p' "$tmp/head")
[ "$(status -H "If-None-Match: $etag" "$url")" = 304 ] || fail "ETag"
# Every file that the page names is there.
for name in $(sed -n 's/.*\(src\|href\)="\([a-z][a-z.]*\)".*/\2/p' "$root/tools/server/web/index.html"); do
    [ "$(status "$url$name")" = 200 ] || fail "the page's $name"
done
expect 5 "$cozad" serve --state-dir "$tmp/other" --port "$(sed 's/.*:\([0-9]*\).*/\1/' <<<"$url")" && one_line 'in use'
ends_with 0 TERM
grep -qE '^[0-9T:.-]+Z info request method=GET path=/ status=200 ms=' "$tmp/log" || fail "no line of the request"
grep -q ' info stopped$' "$tmp/log" || fail "no line of the end"
serve --json-log
curl -s "${url}no%0ath%22ing" >/dev/null
ends_with 0 INT
grep -q '"event": "stopped"' "$tmp/log" || fail "no JSON line of the end"
if command -v jq >/dev/null; then jq -e . "$tmp/log" >/dev/null || fail "the log is no JSON"; fi

# ---- a token, TLS -------------------------------------------------------------------------------------------------
echo 0123456789abcdef-secret >"$tmp/token"
chmod 600 "$tmp/token"
more=()
if command -v openssl >/dev/null; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -keyout "$tmp/key.pem" -out "$tmp/cert.pem" 2>/dev/null
    more=(--tls-cert "$tmp/cert.pem" --tls-key "$tmp/key.pem")
fi
serve --host 0.0.0.0 --auth-token-file "$tmp/token" "${more[@]}"
url=${url/0.0.0.0/127.0.0.1}
[ "$(status -k "${url}v2")" = 401 ] || fail "no token"
[ "$(status -k "${url}v2/health/live")" = 200 ] || fail "live needs no token"
[ "$(status -k "$url")" = 200 ] || fail "the page needs no token"
[ "$(status -k -H 'Authorization: Bearer 0123456789abcdef-secret' "${url}v2")" = 200 ] || fail "token"
[ "$(status -k -c "$tmp/jar" -d '{"token": "0123456789abcdef-secret"}' "${url}api/login")" = 200 ] || fail "login"
[ "$(status -k -b "$tmp/jar" "${url}v2")" = 200 ] || fail "cookie"
if [ "${#more[@]}" -gt 0 ]; then
    grep -q '^https:' <<<"$url" || fail "the address is no https"
    [ "$(status "${url/https/http}v2")" != 200 ] || fail "plain HTTP where TLS is asked for"
    [ "$(status -k --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 "${url}v2/health/live")" = 000 ] || fail "an old TLS"
fi
ends_with 0 TERM
if [ "${#more[@]}" -gt 0 ]; then
    expect 2 "$cozad" serve --state-dir "$tmp/state" --port 0 --tls-cert "$root/README.md" --tls-key "$tmp/key.pem"
fi
serve --host 0.0.0.0 --insecure
grep -q ' warn insecure ' "$tmp/log" || fail "no warning"
ends_with 0 TERM
echo "passed: usage, page, log, token, TLS, signals"
