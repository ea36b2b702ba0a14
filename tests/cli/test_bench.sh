#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad bench: its JSON and text, options, refusals, and a peer that answers lines.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench=("$cozad" bench --backbone resnet18 --random --image-size 64 --photo-size 80 --threads 1 --repeat 3)
unset COZAD_PEERS

# check PYTHON: `rows` are the objects on stdout.
check() {
    python3 -c 'import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
exec(sys.argv[2])' "$tmp/out" "$1" || fail "$1"
}

# --- one precision, all stages
expect 0 "${bench[@]}" --json
check '
assert len(rows) == 1
r = rows[0]
assert list(r["stages"]) == ["preprocess", "backbone", "pooling", "head", "map", "total"], r
for s in r["stages"].values(): assert 0 <= s["p5"] <= s["ms"] <= s["p95"], s
assert r["backbone"].startswith("random:resnet18") and r["architecture"] == "resnet18" and r["precision"] == "fp32"
assert (r["image_width"], r["image_height"], r["photo_width"], r["batch"], r["threads"], r["repeat"]) == (64, 64, 80, 1, 1, 3)
assert r["peak_gflops"] > 0 and r["images_per_second"] > 0 and r["features_ms"] > 0 and r["first_result_ms"] > 0
assert abs(r["images_per_second"] * r["stages"]["total"]["ms"] / 1000 - 1) < 1e-6
b = r["stages"]["backbone"]
assert abs(b["gflops"] / r["peak_gflops"] / b["of_peak"] - 1) < 1e-6 and r["backbone_gflops"] == b["gflops"]
assert 0.2 < b["gflops"] * b["ms"] / 1e3 < 0.3, b  # 0.23 GFLOP up to layer3 at 64 x 64
assert abs(r["stages"]["head"]["gflops"] * r["stages"]["head"]["ms"] / 1e3 - 2e-3 * 1.024 * (80 * 0.768 + 0.064)) < 1e-3, r["stages"]["head"]
assert 1e7 < r["peak_memory_bytes"] < 1e9 and "against" not in r'

# --- one stage, a batch, another shape; text
expect 0 "${bench[@]}" --json --stage head --batch 2 --image-size 96x64
check 'r = rows[0]
assert list(r["stages"]) == ["head"] and r["batch"] == 2 and (r["image_width"], r["image_height"]) == (96, 64)
assert r["features_ms"] is None'
expect 0 "${bench[@]}" --stage backbone
stdout_has '^random:resnet18.*64x64, batch 1, 1 thread,'
stdout_has '^  backbone +[0-9.]+ ms an image \[[0-9.]+ [0-9.]+\], 0\.23 GFLOP at [0-9]+ GFLOP/s: [0-9]+ % of the peak$'
if grep -q '^  head' "$tmp/out"; then fail "--stage backbone printed the head"; fi

# --- every precision there is, fp32 first
expect 0 "${bench[@]}" --json --stage total --precision all
check '
names = [r["precision"] for r in rows]
assert names == [n for n in ("fp32", "fp32-winograd", "bf16", "int8") if n in names] and names[0] == "fp32", names'
expect 0 "${bench[@]}" --json --stage total --precision auto
check 'assert rows[0]["precision"] in ("fp32", "fp32-winograd", "bf16", "int8")'

# --- refusals: one line and exit code 2
refused() {
    local pattern=$1
    shift
    expect 2 "${bench[@]}" "$@"
    one_line "$pattern"
}
refused 'none of fp32' --precision fp8
refused 'none of fp32' --precision model
refused 'out of range' --repeat 0
refused 'out of range' --batch 0
refused 'is not within' --image-size 0
refused 'out of range' --photo-size 20000
refused 'out of range' photo.png
refused 'stage' --stage everything
refused 'against' --against tensorflow
refused 'need --against' --peers "$root/bench"
refused 'need --against' --keep "$tmp"
refused 'needs an architecture' --backbone ./resnet18
expect 2 "${bench[@]}" --backbone resnet17
expect 4 "$cozad" bench --backbone "$tmp/none.safetensors"

# --- peers: missing, not installed, and one made for this test that knows the protocol
expect 5 "${bench[@]}" --against onnxruntime --peers "$tmp/none"
one_line 'no bench/'
mkdir -p "$tmp/peers/peers" "$tmp/keep" "$tmp/programs"
touch "$tmp/peers/peers/onnxruntime.js"
expect 5 "${bench[@]}" --against onnxruntime --peers "$tmp/peers"
one_line 'not installed; run .*/setup$'
mkdir -p "$tmp/peers/.peers/node_modules/onnxruntime-node"
touch "$tmp/peers/.peers/node_modules/onnxruntime-node/package.json"
cat >"$tmp/peers/peers/make_onnx.py" <<'EOF'
import sys
open(sys.argv[sys.argv.index("--out") + 1], "w").write(sys.argv[sys.argv.index("--kind") + 1])
EOF
cat >"$tmp/programs/node" <<'EOF'
#!/usr/bin/env bash
while IFS=$'\t' read -r verb a b; do
    case "$verb" in
    version) echo 9.9.9 ;;
    check) echo "${FAKE_DIFFERENCE:-1e-6}" ;;
    run) [ "$b" = 4 ] && echo "${FAKE_TIMES:-900 1000 1000 1000}" ;;
    load) [ "$(cat "$b")" = "$a" ] && echo ok || echo "error no such graph" ;;
    ranges) echo '{}' >"$b" && echo ok ;;
    *) echo "error what is $verb" ;;
    esac
done
EOF
chmod +x "$tmp/programs/node"
if [ -x /usr/bin/python3 ]; then
    against=(env PATH="$tmp/programs:$PATH" TMPDIR="$tmp" "${bench[@]}" --stage backbone --against onnxruntime --peers "$tmp/peers")
    expect 0 "${against[@]}" --json
    check '
a = rows[0]["against"]
assert (a["name"], a["version"], a["stage"]) == ("onnxruntime", "9.9.9", "backbone") and list(a["peers"]) == ["fp32", "int8"]
for p in a["peers"].values():
    assert p["ms"] == 1000 and p["our_ms"] > 0 and p["difference"] == 1e-6
    assert p["p5"] <= p["ratio"] <= p["p95"] and 0.3 < p["ratio"] * p["our_ms"] / 1000 < 3, p'
    [ -z "$(find "$tmp" -maxdepth 1 -name 'cozad-bench-*')" ] || fail "files of the peer were left behind"
    expect 0 "${against[@]}" --keep "$tmp/keep"
    stdout_has '^  onnxruntime 9\.9\.9, int8: 1000\.00 ms, ours [0-9.]+: [0-9.]+ x \['
    [ "$(cat "$tmp/keep/int8.onnx")" = int8 ] || fail "--keep kept no graph"
    "$cozad" weights verify "$tmp/keep/weights.safetensors" >/dev/null || fail "--keep kept no weights"
    # Another network, no answer, an answer that is none.
    FAKE_DIFFERENCE=0.5 expect 5 "${against[@]}"
    stderr_has 'its maps differ from ours by 0\.5'
    FAKE_TIMES="1 2 three" expect 5 "${against[@]}"
    stderr_has 'the peer answered'
    printf '#!/bin/sh\nread line\nexit 1\n' >"$tmp/programs/node"
    expect 5 "${against[@]}"
    stderr_has 'has ended or does not answer'
    [ -z "$(find "$tmp" -maxdepth 1 -name 'cozad-bench-*')" ] || fail "files of the peer were left behind after a failure"
else
    echo "skipped: the peer (no /usr/bin/python3)"
fi

# --- the real one, where it is installed
if "$root/bench/setup" --check --no-packages >/dev/null 2>&1 && /usr/bin/python3 -c 'import onnx' 2>/dev/null; then
    expect 0 "${bench[@]}" --stage backbone --json --against onnxruntime --peers "$root/bench"
    check '
p = rows[0]["against"]["peers"]
assert p["fp32"]["difference"] < 1e-4 and 1e-4 < p["int8"]["difference"] < 0.2, p'
else
    echo "skipped: onnxruntime (not installed)"
fi
