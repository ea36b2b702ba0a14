#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The server's API as clients see it: every endpoint of the protocol, /score, models, history and metrics, and their errors.
set -euo pipefail
. "$(dirname "$0")/../cli/lib.sh"
. "$(dirname "$0")/../cli/make_small.sh"
command -v curl >/dev/null || skip "needs curl"
if "$cozad" serve -m none 2>&1 | grep -q "built without"; then skip "built without serve"; fi
unset OMP_WAIT_POLICY
server=
stop_server() {
    [ -n "$server" ] || return 0
    kill -TERM "$server" 2>/dev/null || true
    local code=0
    wait "$server" || code=$?
    server=
    [ "$code" = 0 ] || fail "the server ended with $code: $(tail -n 3 "$tmp/log")"
}
trap 'if [ -n "$server" ]; then kill -KILL "$server"; fi; _finish' EXIT
start_server() { # options
    : >"$tmp/address"
    "$cozad" serve --port 0 "$@" >"$tmp/address" 2>"$tmp/log" </dev/null &
    server=$!
    for _ in $(seq 600); do
        if [ -s "$tmp/address" ]; then break; fi
        kill -0 "$server" 2>/dev/null || fail "the server did not start: $(cat "$tmp/log")"
        sleep 0.1
    done
    url=$(sed -n 's,^cozad: serving on \(http://[0-9.:]*\)/$,\1,p' "$tmp/address")
    [ -n "$url" ] || fail "no address: $(cat "$tmp/address" "$tmp/log")"
}
# ask STATUS PATH [curl options]: the answer in $tmp/out, its headers in $tmp/err
ask() {
    local wanted=$1 path=$2 got
    shift 2
    got=$(curl -s -m 60 -D "$tmp/err" -o "$tmp/out" -w '%{http_code}' "$@" "$url$path") || fail "no answer: $path $*"
    tr -d '\r' <"$tmp/err" >"$tmp/err2" && mv "$tmp/err2" "$tmp/err"
    [ "$got" = "$wanted" ] || fail "$got, wanted $wanted: $path $*"
    case $wanted in
    4* | 5*) [ "$path" = /v2/health/ready ] || [[ $path = */ready ]] || stdout_has '^\{"error": ?".+"\}' ;;
    esac
}
header() { grep -qiE "^$1\$" "$tmp/err" || fail "no header $1"; }
number() { grep -oE "\"$1\": ?-?[0-9.e-]+" "$tmp/out" | head -n 1 | sed 's/.*: *//'; }
tensor() { grep -oE '"score","datatype": ?"FP64","shape": ?\[1\],"data": ?\[-?[0-9.e-]+' "$tmp/out" | sed 's/.*\[//'; }
same() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && b != "" && (a - b) * (a - b) < 1e-8 * (1 + a * a)) }' || fail "$3: $1 and $2"; }

make_scenes
expect 0 train_small "$tmp/plain.cozad" --epochs 4
"$cozad" synth "$tmp/held" --scenes cloth --normal 32 --test-good 1 --test-bad 1 --size 96 --seed 99 >/dev/null
expect 0 "$cozad" calibrate -m "$tmp/plain.cozad" --normal "$tmp/held/cloth/train/good" --threads 1 --fpr 0.1 -o "$tmp/cloth.cozad"
mkdir "$tmp/models"
cp "$tmp/plain.cozad" "$tmp/models/other.cozad"
cp "$tmp/plain.cozad" "$tmp/models/spare.cozad"
printf 'no model' >"$tmp/models/broken.cozad"
photo=$scenes/cloth/test/good/000.png
defect=$(find "$scenes/cloth/test" -name '*.png' -not -path '*/good/*' | sort | head -n 1)
backbone=(--backbone random:resnet18:1)
start_server -m "$tmp/cloth.cozad" -m "$tmp/plain.cozad" --model-dir "$tmp/models" "${backbone[@]}" --threads 2 --max-pixels 1000000 \
    --max-body 4000000 --history "$tmp/results.db"

# ---- the protocol: server and models
ask 200 /v2/
stdout_has '"name": ?"cozad"'
ask 200 /v2
stdout_has '"name": ?"cozad"'
stdout_has 'binary_tensor_data'
ask 200 /v2/health/live
stdout_has '"live": ?true'
ask 200 /v2/health/ready
stdout_has '"ready": ?true'
ask 200 /v2/models/cloth
stdout_has '"datatype": ?"UINT8"'
for output in score p_value decision map regions; do stdout_has "\"name\": ?\"$output\""; done
version=$(grep -oE '"versions": ?\["[0-9a-f]{16}"' "$tmp/out" | grep -oE '[0-9a-f]{16}')
[ "$version" = "$(sha256sum "$tmp/cloth.cozad" | head -c 16)" ] || fail "the version is not the file's hash: $version"
ask 200 "/v2/models/cloth/versions/$version"
ask 200 "/v2/models/cloth/versions/1/ready"
ask 200 /v2/models/cloth/ready
stdout_has '"ready": ?true'
ask 404 /v2/models/nothing
ask 404 /v2/models/nothing/ready
ask 404 /v2/models/cloth/versions/0000000000000000
ask 404 /v2/models/cloth/versions/0000000000000000/ready
ask 503 /v2/models/broken/ready
ask 404 /v2/models/broken
ask 400 /v2/models/..%2fcloth
ask 404 /v2/nothing
ask 405 /v2/models/cloth/infer

# ---- one picture
"$cozad" score -m "$tmp/cloth.cozad" "${backbone[@]}" "$photo" --json --no-cache --threads 1 >"$tmp/out"
wanted=$(number score)
wanted_p=$(number p_value)
ask 200 /score -F "image=@$photo"
same "$(number score)" "$wanted" "score of the server and of the program"
same "$(number p_value)" "$wanted_p" "p-value of the server and of the program"
stdout_has '"model": ?"cloth"'
stdout_has '"name": ?"000.png"'
stdout_has '"decision": ?"(normal|anomalous)"'
stdout_has '"width": ?96'
stdout_has '"regions": ?\['
stdout_has '"ms": ?\{'
ask 200 "/score?model=plain&name=line%201" --data-binary "@$photo" -H 'Content-Type: image/png'
same "$(number score)" "$wanted" "score without calibration"
stdout_has '"name": ?"line 1"'
for key in threshold p_value decision pixel_threshold; do stdout_has "\"$key\": ?null"; done
ask 200 /score --data-binary "@$photo" -H 'Content-Type: application/octet-stream'
ask 200 '/score?overlay=1' -F "image=@$defect"
header 'Content-Type: image/png'
header 'X-CoZAD-Score: -?[0-9.e-]+'
header 'X-CoZAD-Decision: (normal|anomalous)'
head -c 8 "$tmp/out" | grep -qa PNG || fail "the overlay is no PNG"
cp "$tmp/out" "$tmp/overlay.png"
ask 200 '/score?heat=1&model=plain' -F "image=@$defect"
header 'X-CoZAD-Decision: unknown'
ask 200 '/score?include=overlay' -F "image=@$defect"
stdout_has '"heat": ?"data:image/png;base64,'
grep -oE '"overlay": ?"data:image/png;base64,[^"]*' "$tmp/out" | sed 's/.*,//; s,\\/,/,g' | base64 -d | cmp - "$tmp/overlay.png" ||
    fail "the overlay inside the JSON is another one"
printf 'no picture' >"$tmp/bad.png"
ask 400 /score -F "image=@$tmp/bad.png"
ask 400 /score -F "text=only"
ask 400 /score --data-binary '' -H 'Content-Type: image/png'
ask 400 /score --data-binary x -H 'Content-Type: multipart/form-data; boundary=b'
ask 415 /score --data-binary "@$photo" -H 'Content-Type: text/plain'
ask 415 /score --data-binary "@$photo" -H 'Content-Type:'
ask 400 '/score?overlay=2' -F "image=@$photo"
ask 400 '/score?overlay=1&heat=1' -F "image=@$photo"
ask 400 '/score?include=all' -F "image=@$photo"
ask 404 '/score?model=nothing' -F "image=@$photo"
ask 404 '/score?model=' -F "image=@$photo"
ask 404 '/score?model=../cloth' -F "image=@$photo"
{ printf 'P5 1001 1000 255\n' && head -c 1001000 /dev/zero; } >"$tmp/large.pgm"
ask 413 /score -F "image=@$tmp/large.pgm"
head -c 4100000 /dev/zero >"$tmp/large"
ask 413 /score -F "image=@$tmp/large"
ask 405 /score

# ---- the protocol: images
head -c 300 "$photo" >"$tmp/cut.png"
json='{"inputs":[{"name":"image","shape":[1],"datatype":"BYTES","data":["%s"]}],"id":"photo 7"}'
# shellcheck disable=SC2059
printf "$json" "$(base64 -w 0 "$photo")" >"$tmp/request"
ask 200 /v2/models/cloth/infer --data-binary "@$tmp/request" -H 'Content-Type: application/json'
stdout_has '"model_name": ?"cloth","model_version": ?"'"$version"'","id": ?"photo 7"'
stdout_has '"name": ?"score","datatype": ?"FP64","shape": ?\[1\],"data": ?\[-?[0-9.e-]+\]'
stdout_has '"name": ?"decision","datatype": ?"INT32","shape": ?\[1\],"data": ?\[[01]\]'
if grep -q '"map"' "$tmp/out"; then fail "a map that nobody asked for"; fi
same "$(tensor)" "$wanted" "base64"
ask 200 "/v2/models/cloth/versions/$version/infer" --data-binary "@$tmp/request" -H 'Content-Type: application/json; charset=utf-8'
ask 404 /v2/models/cloth/versions/7/infer --data-binary "@$tmp/request" -H 'Content-Type: application/json'
ask 404 /v2/models/nothing/infer --data-binary "@$tmp/request" -H 'Content-Type: application/json'
ask 415 /v2/models/cloth/infer --data-binary "@$tmp/request" -H 'Content-Type: text/plain'
ask 400 /v2/models/cloth/infer --data-binary '{"inputs":' -H 'Content-Type: application/json'
ask 400 /v2/models/cloth/infer --data-binary '' -H 'Content-Type: application/json'
# shellcheck disable=SC2059
printf "$json" "$(base64 -w 0 "$tmp/cut.png")" >"$tmp/request"
ask 400 /v2/models/cloth/infer --data-binary "@$tmp/request" -H 'Content-Type: application/json'
# pixels, flat and nested; maps
ask 200 /v2/models/plain/infer -H 'Content-Type: application/json' --data-binary \
    '{"inputs":[{"name":"image","shape":[2,1,2,3],"datatype":"UINT8","data":[1,2,3,4,5,6,7,8,9,10,11,12]}],"outputs":[{"name":"map"},{"name":"p_value"}]}'
stdout_has '"name": ?"map","datatype": ?"FP32","shape": ?\[2,1,2\]'
stdout_has '"name": ?"p_value","datatype": ?"FP64","shape": ?\[2\],"data": ?\[null,null\]'
ask 200 /v2/models/plain/infer -H 'Content-Type: application/json' --data-binary \
    '{"inputs":[{"name":"image","shape":[1,2,2,1],"datatype":"UINT8","data":[[[[1],[2]],[[3],[4]]]]}]}'
ask 400 /v2/models/plain/infer -H 'Content-Type: application/json' --data-binary \
    '{"inputs":[{"name":"image","shape":[1,2,2,1],"datatype":"UINT8","data":[1,2,3]}]}'
ask 413 /v2/models/plain/infer -H 'Content-Type: application/json' --data-binary \
    '{"inputs":[{"name":"image","shape":[9,1,1,1],"datatype":"UINT8","data":[1,2,3,4,5,6,7,8,9]}]}'
ask 413 /v2/models/plain/infer -H 'Content-Type: application/json' --data-binary \
    '{"inputs":[{"name":"image","shape":[1,4000000000,4000000000,3],"datatype":"UINT8","data":[1]}]}'
# binary tensors: MAKES a request of JSON and files, and posts it
binary() { # STATUS JSON FILE [model]
    { printf '%s' "$2" && cat "$3"; } >"$tmp/request"
    ask "$1" "/v2/models/${4:-cloth}/infer" --data-binary "@$tmp/request" -H "Inference-Header-Content-Length: ${#2}" \
        -H 'Content-Type: application/octet-stream'
}
head -c 192 /dev/zero >"$tmp/pixels"
binary 200 '{"inputs":[{"name":"image","shape":[1,8,8,3],"datatype":"UINT8","parameters":{"binary_data_size":192}}]}' "$tmp/pixels"
zero=$(tensor)
zeros=$(printf '0,%.0s' $(seq 192))
ask 200 /v2/models/cloth/infer -H 'Content-Type: application/json' --data-binary \
    '{"inputs":[{"name":"image","shape":[8,8,3],"datatype":"UINT8","data":['"${zeros%,}"']}]}'
same "$(tensor)" "$zero" "pixels in JSON and in binary"
binary 200 '{"inputs":[{"name":"image","shape":[1],"datatype":"BYTES"}]}' "$photo" # as OpenVINO Model Server
same "$(tensor)" "$wanted" "a picture behind the JSON"
little_endian() { # shellcheck disable=SC2059
    printf "\\x$(printf %02x $(($1 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))\\x$(printf %02x $(($1 >> 16 & 255)))\\x00"
}
for f in "$photo" "$defect"; do
    little_endian "$(stat -c %s "$f")"
    cat "$f"
done >"$tmp/two"
binary 200 '{"inputs":[{"name":"image","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":'"$(stat -c %s "$tmp/two")"'}}],
"parameters":{"binary_data_output":true},"outputs":[{"name":"score"},{"name":"map"},{"name":"decision","parameters":{"binary_data":false}}]}' "$tmp/two"
header 'Content-Type: application/octet-stream'
length=$(grep -iE '^Inference-Header-Content-Length:' "$tmp/err" | grep -oE '[0-9]+')
head -c "$length" "$tmp/out" >"$tmp/head"
[ "$(stat -c %s "$tmp/out")" = $((length + 2 * 8 + 2 * 96 * 96 * 4)) ] || fail "not as many bytes as the outputs have"
grep -q '"name": *"decision","datatype": *"INT32","shape": *\[2\],"data"' "$tmp/head" || fail "decision is not in the JSON"
same "$(tail -c +$((length + 1)) "$tmp/out" | od -An -tf8 -N 8 | tr -d ' ')" "$wanted" "score in binary"
binary 400 '{"inputs":[{"name":"image","shape":[2],"datatype":"BYTES"}]}' "$photo"
binary 400 '{"inputs":[{"name":"image","shape":[1,8,8,3],"datatype":"UINT8","parameters":{"binary_data_size":191}}]}' "$tmp/pixels"
ask 200 /v2/models/cloth/infer --data-binary "@$photo" -H 'Inference-Header-Content-Length: 0' # Triton's raw request
ask 400 /v2/models/cloth/infer --data-binary "@$photo" -H 'Inference-Header-Content-Length: 99999999'
ask 400 /v2/models/cloth/infer --data-binary "@$photo" -H 'Inference-Header-Content-Length: -1'

# ---- repository
ask 200 /v2/repository/index -X POST
stdout_has '"name": ?"broken"'
stdout_has '"state": ?"UNAVAILABLE"'
ask 200 /v2/repository/index --data-binary '{"ready":true}' -H 'Content-Type: application/json'
if grep -q broken "$tmp/out"; then fail "what is not loaded is called ready"; fi
ask 400 /v2/repository/index --data-binary '[]' -H 'Content-Type: application/json'
ask 200 /v2/repository/models/other/unload -X POST
ask 503 /v2/models/other/ready
ask 404 '/score?model=other' -F "image=@$photo"
ask 200 /v2/repository/models/other/load -X POST
ask 200 /v2/models/other/ready
ask 400 /v2/repository/models/broken/load -X POST
ask 404 /v2/repository/models/nothing/load -X POST
ask 404 /v2/repository/models/nothing/unload -X POST
ask 400 /v2/repository/models/..%2fplain/load -X POST

# ---- models, history, metrics, description
ask 200 /api/models
stdout_has '"default": ?"[a-z]+"'
stdout_has '"method": ?"simplenet"'
stdout_has '"detector": ?"simplenet"'
stdout_has '"architecture": ?"resnet18"'
stdout_has '"rule": ?"fpr"'
ask 200 /api/models/cloth
if grep -q '"path":' "$tmp/out"; then fail "it tells where the weights lie"; fi
stdout_has '"pixels_sha256": ?\{"entries": ?32\}'
ask 404 /api/models/nothing
for _ in $(seq 50); do # sinks have a thread of their own
    ask 200 '/api/history?most=1000'
    if grep -q 'line 1' "$tmp/out"; then break; fi
    sleep 0.1
done
stdout_has '"name": ?"line 1"'
stdout_has '"name": ?"photo 7"'
ask 200 '/api/history?model=cloth&text=PHOTO%207&decision=&most=1'
stdout_has '"rows": ?\[\{[^{]*photo 7[^{]*\}\]'
ask 200 '/api/history?decision=unknown&most=1'
stdout_has '"decision": ?null'
ask 200 '/api/history?before=1'
stdout_has '"rows": ?\[\]'
for bad in most=1001 most=-1 most=x before= decision=bad most=99999999999999999999; do ask 400 "/api/history?$bad"; done
ask 200 '/api/history.csv?model=plain'
header 'Content-Type: text/csv.*'
header 'Content-Disposition: attachment.*'
stdout_has 'line 1'
ask 200 /metrics
header 'Content-Type: text/plain; version=0\.0\.4.*'
stdout_has '^# TYPE cozad_'
stdout_has 'route="infer"'
ask 200 /openapi.json
cmp "$tmp/out" "$root/tools/server/web/openapi.json" || fail "another description"
ask 404 /api/datasets # without --state-dir
ask 404 /api/jobs

# ---- a model that is replaced
cp "$tmp/cloth.cozad" "$tmp/models/new" && mv "$tmp/models/new" "$tmp/models/spare.cozad"
for _ in $(seq 100); do
    ask 200 /v2/models/spare
    if grep -q "$version" "$tmp/out"; then break; fi
    sleep 0.1
done
stdout_has "$version"
stop_server

# ---- pictures that take long: a full queue, and a time that is too short
command -v python3 >/dev/null || skip "the rest needs python3"
python3 - "$tmp/slow" <<'PYTHON'
import struct
import sys
import zlib


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


side = 5000
png = (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
       + chunk(b"IDAT", zlib.compress(bytes((side + 1) * side), 1)) + chunk(b"IEND", b""))
with open(sys.argv[1], "wb") as f:
    f.write((struct.pack("<I", len(png)) + png) * 4)
PYTHON
four='{"inputs":[{"name":"image","shape":[4],"datatype":"BYTES"}],"outputs":[{"name":"regions"}]}'
start_server -m "$tmp/cloth.cozad" "${backbone[@]}" --threads 1 --queue 4
ask 413 /v2/models/cloth/infer -H 'Content-Type: application/json' --data-binary \
    '{"inputs":[{"name":"image","shape":[5,1,1,1],"datatype":"UINT8","data":[1,2,3,4,5]}]}'
{ printf '%s' "$four" && cat "$tmp/slow"; } >"$tmp/long"
curl -s -m 60 -o "$tmp/first" -w '%{http_code}' --data-binary "@$tmp/long" -H "Inference-Header-Content-Length: ${#four}" \
    "$url/v2/models/cloth/infer" >"$tmp/code" &
first=$!
for _ in $(seq 200); do
    ask 200 /metrics
    if grep -q '^cozad_queue_waiting [1-4]' "$tmp/out"; then break; fi
    sleep 0.01
done
binary 503 "$four" "$tmp/slow"
header 'Retry-After: 1'
wait "$first"
[ "$(cat "$tmp/code")" = 200 ] || fail "a request that was accepted was not answered: $(cat "$tmp/code")"
stop_server
start_server -m "$tmp/cloth.cozad" "${backbone[@]}" --threads 1 --timeout 0.2
binary 504 "$four" "$tmp/slow"
ask 200 /v2/health/live
stop_server
echo PASS
