#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Throughput and waiting times of `cozad serve`: against `cozad score` on the same folder in turns, while a training runs through the
# server, and its memory over many small requests. Bars: throughput within 10 % of `cozad score`; memory within 5 % after a warm-up.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/release photos=200 side=1024 workers=2 clients=8 rounds=3 precision=int8 arch=wide_resnet50_2
training=60 small=10000 every=1000 path=/v2/models/m/infer keep=''
python=/usr/bin/python3
usage() {
    cat <<'EOF'
Usage: bench/serve.sh [--photos 200] [--side 1024] [--workers 2] [--clients 8] [--rounds 3] [--precision int8] [--arch wide_resnet50_2]
                      [--training SECONDS] [--small REQUESTS] [--every 1000] [--score] [--build build/release] [--folder DIR]
Makes PHOTOS JPEGs (quality 95) and random weights, then prints one JSON object:
  score_images_per_second         `cozad score` on the folder, its start-up included
  serve_images_per_second         the server with CLIENTS clients that post the same files to …/infer (--score: to /score)
  serve_over_score                median ratio over ROUNDS rounds in turns
  serve_over_score_running        the same with the time that `cozad score` takes for 4 photos taken off: without its start-up
  score_cpu_ms, serve_cpu_ms      processor time of an image, without start-up
  p50_ms, p99_ms, max_ms          of those requests; p50_one_ms, p99_one_ms: of a single client
  training_…                      CLIENTS clients for 60 seconds while a training runs through the server (--training 0: left out)
  small_…                         10000 requests of 64 x 64 pixels to a small model: rates, resident megabytes after every 1000, and the
                                  largest over the smallest of them after the first fifth (--small 0: left out)
DIR: photos that are there already, or that shall stay.
EOF
}
while [ $# -gt 0 ]; do
    case "$1" in
    --photos) photos=$2; shift ;;
    --side) side=$2; shift ;;
    --workers) workers=$2; shift ;;
    --clients) clients=$2; shift ;;
    --rounds) rounds=$2; shift ;;
    --precision) precision=$2; shift ;;
    --arch) arch=$2; shift ;;
    --training) training=$2; shift ;;
    --small) small=$2; shift ;;
    --every) every=$2; shift ;;
    --build) build=$2; shift ;;
    --folder) keep=$2; shift ;;
    --score) path='/score?model=m' ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
cozad=$build/bin/cozad load=$build/bin/bench_serve server='' code=0
cmake --build "$build" --target cozad_cli bench_photos bench_startup bench_serve >/dev/null
tmp=$(mktemp -d)
trap 'if [ -n "$server" ]; then kill -KILL "$server" 2>/dev/null || true; fi; rm -rf "$tmp"' EXIT
export COZAD_HOME=$tmp/home COZAD_PACKED_CACHE=
unset OMP_WAIT_POLICY
start_server() { # options
    : >"$tmp/address"
    "$cozad" serve --port 0 --threads "$workers" "$@" >"$tmp/address" 2>"$tmp/log" </dev/null &
    server=$!
    until [ -s "$tmp/address" ]; do
        kill -0 "$server" 2>/dev/null || { cat "$tmp/log" >&2; exit 1; }
        sleep 0.1
    done
    address=$(sed -n 's,^cozad: serving on http://\(.*\)/$,\1,p' "$tmp/address")
}
stop_server() {
    kill -TERM "$server"
    wait "$server" || { tail -n 3 "$tmp/log" >&2; exit 1; }
    server=''
}
post() { # NAME [options of bench_serve]: a line of JSON to the file NAME
    local name=$1 raw=()
    shift
    case $path in */infer) raw=(--raw) ;; esac
    "$load" "$address" "$path" "${raw[@]}" "$@" | tee -a "$tmp/$name" >&2 || code=1
}
api() { # METHOD PATH [options of curl]
    local method=$1 at=$2
    shift 2
    curl -sS --fail-with-body -X "$method" "$@" "http://$address$at"
}
score() { # NAME FOLDER
    "$python" "$root/bench/measure.py" "$cozad" score -m "$tmp/m.cozad" --backbone "$tmp/w.safetensors" --no-cache --csv -q \
        --precision "$precision" --threads "$workers" "$2" | tee -a "$tmp/$1" >&2
}

folder=${keep:-$tmp/photos}
mkdir -p "$folder" "$tmp/four"
if [ -z "$(find "$folder" -name '*.jpg' -print -quit)" ]; then "$build/bin/bench_photos" "$folder" "$photos" "$side"; fi
photos=$(find "$folder" -name '*.jpg' | wc -l)
find "$folder" -name '*.jpg' | sort | sed -n 1,4p | xargs cp -t "$tmp/four"
"$build/bin/bench_startup" --save "$arch" "$tmp/w.safetensors"
touch -d 2001-01-01 "$tmp/w.safetensors" # packed weights are kept for files that have lain still
"$cozad" train --normal "$tmp/four" --backbone "$tmp/w.safetensors" --epochs 1 --patches-per-image 64 --quantise 4 --no-cache -q \
    -o "$tmp/m.cozad" >/dev/null

# ---- in turns; the server is warm, and idle while `cozad score` runs
start_server -m "$tmp/m.cozad" --backbone "$tmp/w.safetensors" --precision "$precision" --state-dir "$tmp/state"
post warm --clients "$clients" --requests $((2 * clients)) "$tmp/four"
score warm_score "$tmp/four"
for ((round = 0; round < rounds; round++)); do
    score few "$tmp/four"
    score score "$folder"
    post serve --clients "$clients" --server "$server" "$folder"
done
post one --clients 1 --requests 50 "$folder"

# ---- with a training
if [ "$training" != 0 ]; then
    api POST /api/datasets -d '{"name": "bench"}' >/dev/null
    find "$folder" -name '*.jpg' | sort | sed -n 1,24p >"$tmp/list"
    while read -r photo; do
        api PUT "/api/datasets/bench/photos/$(basename "$photo")" --data-binary "@$photo" -H 'Content-Type: image/jpeg' >/dev/null
    done <"$tmp/list"
    api POST /api/jobs -d '{"dataset": "bench", "method": "simplenet", "epochs": 1000}' >"$tmp/job"
    job=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["id"])' "$tmp/job")
    for _ in $(seq 300); do
        if api GET "/api/jobs/$job" | tee "$tmp/job" | grep -qE '"state": ?"running"'; then break; fi
        sleep 0.1
    done
    post training --clients "$clients" --requests 1000000 --seconds "$training" "$folder"
    api GET "/api/jobs/$job" >"$tmp/job"
    api DELETE "/api/jobs/$job" >/dev/null
fi
stop_server

# ---- many small ones
if [ "$small" != 0 ]; then
    mkdir "$tmp/tiny"
    "$build/bin/bench_photos" "$tmp/tiny" 50 64
    "$cozad" train --normal "$tmp/tiny" --backbone random:resnet18:1 --image-size 64 --feature-width 96 --hidden-width 64 \
        --epochs 1 --patches-per-image 16 --no-cache -q -o "$tmp/m.cozad" >/dev/null
    start_server -m "$tmp/m.cozad" --backbone random:resnet18:1 --history "$tmp/history.db"
    post small --clients "$clients" --requests "$small" --server "$server" --every "$every" "$tmp/tiny"
    stop_server
fi
"$python" - "$tmp" "$photos" <<'PY'
import json, os, statistics, sys
folder, photos = sys.argv[1], int(sys.argv[2])
read = lambda name: [json.loads(line) for line in open(f"{folder}/{name}")] if os.path.exists(f"{folder}/{name}") else []
median = statistics.median
score, few, serve, one = read("score"), read("few"), read("serve"), read("one")[0]
rate = [row["images_per_second"] for row in serve]
whole = [photos / row["seconds"] for row in score]
running = [(photos - 4) / (row["seconds"] - start["seconds"]) for row, start in zip(score, few)]
out = {
    "photos": photos,
    "clients": serve[0]["clients"],
    "errors": sum(row["errors"] for name in ("serve", "one", "training", "small") for row in read(name)),
    "score_images_per_second": round(median(whole), 2),
    "serve_images_per_second": round(median(rate), 2),
    "serve_over_score": round(median(a / b for a, b in zip(rate, whole)), 3),
    "serve_over_score_running": round(median(a / b for a, b in zip(rate, running)), 3),
    "score_cpu_ms": round(1e3 * median((row["cpu_seconds"] - start["cpu_seconds"]) / (photos - 4) for row, start in zip(score, few)), 2),
    "serve_cpu_ms": median(row["cpu_ms_per_image"] for row in serve),
    **{key: median(row[key] for row in serve) for key in ("p50_ms", "p99_ms", "max_ms")},
    "p50_one_ms": one["p50_ms"],
    "p99_one_ms": one["p99_ms"],
}
for row in read("training"):
    state = json.load(open(f"{folder}/job"))["state"]
    out |= {f"training_{key}": row[key] for key in ("requests", "images_per_second", "p50_ms", "p99_ms", "max_ms")}
    out["training_state"] = state  # "running": the training was there to the end
for row in read("small"):
    out |= {f"small_{key}": row[key] for key in ("requests", "images_per_second", "p50_ms", "p99_ms", "rss_mb")}
    later = row["rss_mb"][1 + len(row["rss_mb"]) // 5:] or row["rss_mb"]
    out["small_rss_largest_over_smallest"] = round(max(later) / min(later), 3)
print(json.dumps(out))
PY
exit "$code"
