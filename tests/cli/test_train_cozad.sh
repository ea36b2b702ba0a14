#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad train --method cozad on two small categories: the log, every switch, ^C and kill followed by --resume, divergence.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
"$cozad" synth "$scenes" --scenes cloth,caps --normal 8 --test-good 2 --test-bad 4 --size 96 --seed 5 >/dev/null
log=$tmp/log.jsonl
cozad_small() { # MODEL [options]
    local model=$1
    shift
    "$cozad" train --method cozad --source "$scenes:mvtec" "${small[@]}" --batch 4 --seed 3 -o "$model" "$@"
}
steps_in() { cat "$1" 2>/dev/null | grep -c '"event":"step"' || true; }

# --- the log: every field of every step, ordered steps, the loss made of its parts
expect 0 cozad_small "$tmp/a.cozad" --epochs 12 --log "$log" --json
stdout_has '"images":16,.*"method":"cozad","categories":2,"steps":12,"last_loss":[0-9]'
cat >"$tmp/check.py" <<'END'
import json, math, sys
every = [json.loads(line) for line in open(sys.argv[1])]
lines = [l for l in every if l["event"] in ("start", "step", "end")]
phases = [l for l in every if l not in lines]
assert [every[0], every[-1]] == [lines[0], lines[-1]], "first and last"
assert all(list(p) == ["event", "done", "total"] and 0 <= p["done"] <= p["total"] for p in phases), "fields of phases"
names = [p["event"] for p in phases]
assert set(names) <= {"features", "precision", "statistics", "comparing", "confidence"}, "phases"
features = [p for p in phases if p["event"] == "features"]
assert every[1] == {"event": "features", "done": 0, "total": 16} and features[-1]["done"] == features[-1]["total"], "features"
first, last = every.index(lines[1]), every.index(lines[-2])
assert every.index(features[-1]) < first, "features before the steps"
assert all(last < every.index(p) for p in phases if p["event"] in ("comparing", "confidence")), "phases after the steps"
assert [l["event"] for l in lines] == ["start"] + ["step"] * 12 + ["end"], "events"
start, end = lines[0], lines[-1]
assert start["categories"] == [{"name": start["categories"][0]["name"], "images": 8},
                               {"name": start["categories"][1]["name"], "images": 8}], "categories"
assert start["config"]["method"] == "cozad" and start["config"]["seed"] == 3, "config"
assert end["status"] == "ok" and end["model"] == sys.argv[2], "end"
names = ("epoch step steps loss loss_ad loss_weighted loss_contrast loss_decay support_ad mean_weight share_below_one "
         "det_sigma lambda_ratio inner_shift support_drop meta_cosine gradient_adaptor gradient_discriminator "
         "images_per_second seconds seconds_left").split()
for i, s in enumerate(lines[1:-1]):
    assert list(s) == ["event"] + names, "fields"
    assert s["step"] == i and s["steps"] == 12 and 0 <= s["epoch"] < 12, "steps"
    total = s["loss_weighted"] + s["loss_decay"] + s["loss_contrast"] * start["config"]["lambda-cont"]
    assert math.isclose(s["loss"], total, rel_tol=1e-5), "parts of the loss"
    assert 0.001 <= s["mean_weight"] <= 1 and 0 <= s["share_below_one"] <= 1, "weights"
    assert s["det_sigma"] >= 0 and s["lambda_ratio"] >= 1 and s["inner_shift"] > 0, "uncertainty"
    assert s["meta_cosine"] is None or 0.5 < s["meta_cosine"] <= 1.000001, "cosine"
assert all(s["det_sigma"] == 0 for s in lines[1:10]), "Sigma before it has ten pairs"
assert lines[-2]["det_sigma"] > 0 and lines[-2]["lambda_ratio"] > 1, "Sigma after ten pairs"
END
if command -v python3 >/dev/null; then
    python3 "$tmp/check.py" "$log" "$tmp/a.cozad" 2>"$tmp/err" || fail "the log"
fi
expect 0 cozad_small "$tmp/b.cozad" --epochs 12
cmp "$tmp/a.cozad" "$tmp/b.cozad" || fail "same seed, different models"
expect 0 "$cozad" score -m "$tmp/a.cozad" "$scenes/cloth/test" --threads 1

# --- each switch works and changes the model
switch() {
    expect 0 cozad_small "$tmp/s.cozad" --epochs 12 "$@"
    if cmp -s "$tmp/a.cozad" "$tmp/s.cozad"; then fail "$* changes nothing"; fi
}
switch --scl off
switch --data-uncertainty off
switch --model-uncertainty off
switch --hard-cl
switch --confidence-unit image
switch --weight-anchor none
switch --weight-both
switch --loss-reduction sum --lambda0 1e-4
switch --decay all
switch --uncertainty-scale raw
switch --contrast off
switch --contrast-literal
switch --contrast-in inner
switch --knn 0
switch --meta off
switch --meta-gradient first-order
switch --meta-gradient reptile
switch --inner-steps 2
switch --inner-lr 0.1
switch --tasks 2
switch --query-share 0.5
switch --literal
expect 2 cozad_small "$tmp/s.cozad" --epochs 1 --meta-gradient reptile --inner-steps 1
one_line 'reptile'

# --- an interrupted training that is resumed makes the same model, byte for byte
long=(--epochs 300 --checkpoint-every 20)
expect 0 cozad_small "$tmp/whole.cozad" "${long[@]}" --log "$tmp/whole.jsonl"
# stop_at N SIGNAL: starts it, and sends the signal once N steps are in the log.
stop_at() {
    "$cozad" train --method cozad --source "$scenes:mvtec" "${small[@]}" --batch 4 --seed 3 -o "$tmp/part.cozad" \
        "${long[@]}" --log "$log" "${@:3}" >"$tmp/out" 2>"$tmp/err" &
    local child=$! tries=0
    while [ "$(steps_in "$log")" -lt "$1" ] && [ $tries -lt 3000 ]; do sleep 0.02; tries=$((tries + 1)); done
    kill "-$2" $child
    code=0
    wait $child 2>/dev/null || code=$?
    [ ! -e "$tmp/part.cozad" ] || fail "a model of an interrupted training"
    [ -s "$tmp/part.cozad.checkpoint" ] || fail "no checkpoint"
}
rm -f "$log"
stop_at 50 INT
[ $code = 130 ] || fail "exit code $code after an interrupt"
grep -qE 'interrupted after step [0-9]+ of 300; the same command with --resume goes on from .*part\.cozad\.checkpoint' "$tmp/err" ||
    fail "how to resume is not said"
tail -n 1 "$log" | grep -qE '"event":"end".*"status":"cancelled".*"model":null' || fail "the log does not say that it was cancelled"
stop_at $(($(steps_in "$log") + 60)) KILL --resume # after what ^C had left; this one leaves the last regular checkpoint
expect 3 "$cozad" train --source "$tmp/home:folder" "${small[@]}" -o "$tmp/part.cozad" # fails before it touches it
expect 4 cozad_small "$tmp/part.cozad" "${long[@]}" --resume --kappa 2
stderr_has 'part\.cozad\.checkpoint'
expect 0 cozad_small "$tmp/part.cozad" "${long[@]}" --log "$log" --resume
cmp "$tmp/part.cozad" "$tmp/whole.cozad" || fail "a resumed training makes another model"
[ ! -e "$tmp/part.cozad.checkpoint" ] || fail "the checkpoint is left behind"
[ "$(grep -c '"event":"start"' "$log")" = 3 ] || fail "a resumed training replaced the log"
figures() { sed -nE 's/.*"step":([0-9]+),"steps":[0-9]+,("loss".*),"images_per_second".*/\1 \2/p' "$1" | sort -n -u; }
figures "$log" >"$tmp/figures"
figures "$tmp/whole.jsonl" | cmp - "$tmp/figures" || fail "a resumed training logs other figures"
[ "$(wc -l <"$tmp/figures")" = 300 ] || fail "steps are missing in the log"

# --- divergence: exit code 5, the term, the last good state
expect 5 cozad_small "$tmp/wild.cozad" --epochs 100 --lr-discriminator 1e30 --log "$log"
grep -qE 'not finite.*wild\.cozad\.checkpoint' "$tmp/err" || fail "a divergence without its term or checkpoint"
tail -n 1 "$log" | grep -q '"status":"diverged"' || fail "the log does not say that it diverged"
[ -s "$tmp/wild.cozad.checkpoint" ] && [ ! -e "$tmp/wild.cozad" ] || fail "a model that diverged"
echo PASS
