#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad ablate: which rows there are, what runs, going on after interruption, refusals, the tables. Most of it with a script
# in the place of train and eval; the end with the real ones.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$root/tests/cli/make_small.sh"
cd "$tmp"

# ---- a stand-in: train writes its command line as the model, eval makes figures of it --------------------------------

export STUB_DIR=$tmp/stub COZAD_ABLATE_BINARY=$tmp/stub/cozad
mkdir -p "$STUB_DIR"
cat >"$COZAD_ABLATE_BINARY" <<'STUB'
#!/usr/bin/env bash
verb=$1 model= data= all="$*"
echo "$all" >>"$STUB_DIR/calls"
while [ $# -gt 0 ]; do
    case $1 in -o | -m) model=$2 ;; --data) data=$2 ;; esac
    shift
done
if [ "$verb" = train ]; then
    if [ -e "$STUB_DIR/slow" ] && [[ $all == *"$(cat "$STUB_DIR/slow")"* ]]; then
        echo $$ >"$STUB_DIR/pid"
        for _ in $(seq 600); do
            sleep 0.1 &
            wait $!
        done
    fi
    if [ -e "$STUB_DIR/bad" ] && [[ $all == *"$(cat "$STUB_DIR/bad")"* ]]; then
        echo "cozad: weights are missing" >&2
        exit 4
    fi
    echo "$all" >"$model"
    exit 0
fi
image=0.5
[[ $(cat "$model") == *"--scl on"* ]] && image=0.6
[[ $(cat "$model") == *"--seed 2"* ]] && image=${image}2
case $data in *metal) pixel=null ;; *) pixel=0.75 ;; esac
echo "{\"categories\": {\"${data##*/}\": {\"image_auroc\": $image, \"pixel_auroc\": $pixel}}, \"mean\": {}}"
STUB
chmod +x "$COZAD_ABLATE_BINARY"
mkdir -p data/cloth/test/good data/metal/test/good data/caps/test/good
calls() { grep -c "^$1 " "$STUB_DIR/calls" || true; } # how often a verb was run
echo '{"epochs": 1, "kappa": 1.5, "scl": "on"}' >base.json
ablate=("$cozad" ablate --config base.json --source data:mvtec:caps --target data:mvtec:cloth --target data:mvtec:metal)

# ---- what would run ---------------------------------------------------------------------------------------------------

expect 0 "${ablate[@]}" --seeds 1 -o none --dry-run
stdout_has '^20 rows, 20 runs: 0 done, 20 to run$' # 4 + 5 + 12 + 8 lines
[ "$(grep -c '^  cozad train ' "$tmp/out")" = 20 ] || fail "not 20 trainings"
[ "$(grep -c '^  cozad eval ' "$tmp/out")" = 40 ] || fail "not 40 evaluations"
[ "$(grep '^  cozad train ' "$tmp/out" | sed 's/ --log .*//' | sort -u | wc -l)" = 20 ] || fail "a training is there twice"
stdout_has '^  cozad train --method cozad --config none/base.json --source data:mvtec:caps --scl off --meta on --contrast on --seed 1 --log none/meta-contrast/seed1/log.jsonl -o none/meta-contrast/seed1/model.cozad$'
stdout_has 'scl on --meta on --contrast on --data-uncertainty on --model-uncertainty on --hard-cl --seed'
stdout_has '--data-uncertainty off --model-uncertainty on --seed'
stdout_has '--data-uncertainty on --model-uncertainty on --lambda-cont 0.1 --seed'
[ ! -e none ] || fail "a dry run made a folder"
for rows in table3:4:baseline table4:5:no-confident table5:10:knn-1 table7:8:full; do
    IFS=: read -r table count line <<<"$rows"
    expect 0 "${ablate[@]}" --rows "$table" --seeds 1 -o none --dry-run
    stdout_has "^$count rows, $count runs"
    expect 0 "${ablate[@]}" --rows "$table:$line" --seeds 3 -o none --dry-run
    stdout_has '^1 rows, 3 runs'
done
expect 0 "${ablate[@]}" --rows table4:no-confident,table7:meta-contrast,meta-contrast --seeds 1 -o none --dry-run
stdout_has '^meta-contrast, seed 1: to run$'
stdout_has '^1 rows, 1 runs'
# Where the base has another value, the paper's is a row of its own.
echo '{"kappa": 2}' >other.json
expect 0 "$cozad" ablate --config other.json --source d:folder --target data:mvtec --rows table5 --seeds 1 -o none --dry-run --json
[ "$(wc -l <"$tmp/out")" = 10 ] || fail "not 10 rows"
stdout_has '"row":"kappa-1.5"'
if grep -q '"row":"kappa-2"' "$tmp/out"; then fail "kappa-2 is the base itself"; fi
[ "$(head -n 1 "$tmp/out" | grep -o '"eval"' | wc -l)" = 3 ] || fail "not one evaluation a category"

# ---- refused ----------------------------------------------------------------------------------------------------------

refused() { # PATTERN COMMAND…
    local pattern=$1
    shift
    expect 2 "$@"
    one_line "$pattern"
}
refused 'table8' "${ablate[@]}" --rows table8 -o none
refused 'seeds' "${ablate[@]}" --seeds 0 -o none
refused 'needs' "$cozad" ablate --config base.json -o none
refused 'nothing to train on' "$cozad" ablate --config base.json --target data:mvtec -o none
refused 'not ROOT:LAYOUT' "$cozad" ablate --config base.json --source d:folder --target data:mvtek -o none
refused 'no data set' "$cozad" ablate --config base.json --source d:folder --target stub:mvtec -o none
refused 'nowhere' "$cozad" ablate --config base.json --source d:folder --target data:mvtec:nowhere -o none
echo '{"meta": "off"}' >off.json
refused '"meta" is off' "$cozad" ablate --config off.json --source d:folder --target data:mvtec -o none
echo '{"hard-cl": true}' >hard.json
refused '"hard-cl" is on' "$cozad" ablate --config hard.json --source d:folder --target data:mvtec -o none
echo '{"kappa": 1, }' >broken.json
refused 'broken.json: line 1' "$cozad" ablate --config broken.json --source d:folder --target data:mvtec -o none
[ ! -e none ] || fail "a refused call made a folder"

# ---- a run, and again -------------------------------------------------------------------------------------------------

rm -f "$STUB_DIR/calls"
expect 0 "${ablate[@]}" --rows table3 --seeds 2 -o results
[ "$(calls train) $(calls eval)" = "8 16" ] || fail "not 8 trainings and 16 evaluations"
stdout_has '^## Table 3\. Component-wise ablation study showing I-AUROC \(%\)\.$'
stdout_has '^\| Method \| MVTec-AD \(paper\) \| VisA \(paper\) \| cloth \| metal \| mean \|$'
stdout_has '^\| Baseline \(SimpleNet\) \| 89\.7 \| 80\.0 \| 51\.0 ± 1\.4 \| 51\.0 ± 1\.4 \| 51\.0 ± 1\.4 \|$'
stdout_has '^\| \+ Meta-Learning \| 92\.6 \| 84\.9 \| 61\.0 ± 1\.4 '
stdout_has '^\| Baseline \(SimpleNet\) \| 75\.0 ± 0\.0 \| no masks \| 75\.0 ± 0\.0 \|$'
cmp -s "$tmp/out" results/tables.md || fail "tables.md is not what was printed"
[ ! -e results/full/seed1/model.cozad ] || fail "a model was kept"
for file in full/seed2/cloth.json scl-meta/row.json; do [ -e "results/$file" ] || fail "$file is missing"; done
grep -q "\"base_sha256\": \"$(sha256sum <results/base.json | cut -d' ' -f1)\"" results/full/row.json || fail "row.json: not the base's SHA-256"
if find results -name '*.part' -o -name '*.out' | grep -q .; then fail "a temporary file was left"; fi

rm -f "$STUB_DIR/calls"
expect 0 "${ablate[@]}" --rows table3,table4,table7 --seeds 2 -o results --json
[ "$(calls train)" = 14 ] || fail "not 14 further trainings" # 11 rows, 4 done
stdout_has '^\{"tables":\{"table3":'
stdout_has '"label":"w/o Confident Learning","row":"meta-contrast","paper_percent":\{"MVTec-AD":\{"image_auroc":90.8\},"VisA":\{"image_auroc":81.2\}\}'
stdout_has '"label":"Meta \+ Contrastive","row":"meta-contrast","paper_percent":\{"MVTec-AD":\{"image_auroc":90.8\},"VisA":\{"image_auroc":83.4\}\}'
stdout_has '"mean":\{"image_auroc":\{"mean":0\.51,"std":0\.0141[0-9]*,"seeds":2\}'
[ "$(grep -c '81\.2 and 83\.4' results/tables.md)" = 2 ] || fail "tables 4 and 7 lack their note"
rm -f "$STUB_DIR/calls"
expect 0 "${ablate[@]}" --rows table3,table4,table7 --seeds 2 -o results
[ ! -e "$STUB_DIR/calls" ] || fail "what was done is run again"
expect 0 "${ablate[@]}" --rows table5 --seeds 2 -o results --dry-run
stdout_has '^10 rows, 20 runs: 2 done, 18 to run$'
# A figure that was removed is made again, from a new training.
rm results/full/seed1/cloth.json
expect 0 "${ablate[@]}" --rows full --seeds 2 -o results --keep-models
[ "$(calls train) $(calls eval)" = "1 1" ] || fail "not one training and one evaluation"
[ -e results/full/seed1/model.cozad ] || fail "--keep-models: no model"

# Every figure of the paper, beside lines that were not run.
expect 0 "${ablate[@]}" --rows table3,table4,table5:kappa-1.5,table7 --seeds 2 -o results
for line in 'Full \*CoZAD\* \| 92\.9 \| 85\.3' 'w/o Data Uncertainty \| 91\.4 \| 83\.7' 'w/o Model Uncertainty \| 92\.1 \| 84\.5' \
    'w/o Confident Learning \| 90\.8 \| 81\.2' 'Hard CL \(remove samples\) \| 91\.6 \| 83\.1' 'κ \(IQR\) \| 0\.5 \| 91\.8 \| –' \
    '1\.0 \| 92\.3' '1\.5 \| 92\.9 \| 61\.0 ± 1\.4' '2\.0 \| 92\.1' 'k_nn \| 1 \| 92\.1' '3 \| 92\.4' '5 \| 92\.9' '10 \| 92\.3' \
    'λ_cont \| 0\.1 \| 92\.2' '0\.5 \| 92\.6' '1\.0 \| 92\.9' '2\.0 \| 92\.4' 'SCL only \| 91\.8 \| 81\.8' \
    'Meta only \| 90\.5 \| 83\.1' 'Contrastive only \| 90\.1 \| 80\.4' 'SCL \+ Contrastive \| 92\.0 \| 82\.1' \
    'Meta \+ Contrastive \| 90\.8 \| 83\.4'; do
    stdout_has "^\\|.* $line \\|"
done

# ---- another base, sources, targets -----------------------------------------------------------------------------------

echo '{"epochs": 2, "kappa": 1.5, "scl": "on"}' >base.json
refused 'config.epochs was 1 and is now 2' "${ablate[@]}" --seeds 2 -o results
echo '{"kappa": 1.5, "scl": "on", "epochs": 1}' >base.json # the same
expect 0 "${ablate[@]}" --rows table3 --seeds 2 -o results
refused 'targets was' "${ablate[@]}" --target data:mvtec:caps --seeds 2 -o results
refused 'sources was' "${ablate[@]}" --source data:mvtec:metal --seeds 2 -o results
refused 'backbone was' "${ablate[@]}" --backbone random:resnet18:3 --seeds 2 -o results

# ---- a row that fails -------------------------------------------------------------------------------------------------

rm -f "$STUB_DIR/calls"
echo 'hard-cl' >"$STUB_DIR/bad"
expect 3 "${ablate[@]}" --rows table4 --seeds 1 -o failing
stderr_has '^cozad: weights are missing$'
stderr_has '^cozad: hard-cl, seed 1: train ended with exit code 4$'
stdout_has '^\| Hard CL \(remove samples\) \| 91\.6 \| 83\.1 \| failed \(exit 4\) \|'
stdout_has '^\| w/o Model Uncertainty \| 92\.1 \| 84\.5 \| 60\.0 \|'
[ "$(calls train)" = 5 ] || fail "the others did not go on"
rm "$STUB_DIR/bad"
expect 0 "${ablate[@]}" --rows table4 --seeds 1 -o failing
[ "$(calls train)" = 6 ] || fail "not one further training"
[ ! -e failing/hard-cl/seed1/failed.json ] || fail "the failure is still noted"

# ---- interrupted, killed ----------------------------------------------------------------------------------------------

wait_for() { # FILE
    for _ in $(seq 300); do
        [ ! -s "$1" ] || return 0
        sleep 0.1
    done
    fail "waited in vain for $1"
}
rm -f "$STUB_DIR/calls"
echo '--scl on --meta on --contrast off' >"$STUB_DIR/slow"
"${ablate[@]}" --rows table3 --seeds 1 -o cut >"$tmp/out" 2>"$tmp/err" &
run=$!
wait_for "$STUB_DIR/pid"
child=$(cat "$STUB_DIR/pid")
kill -TERM "$run"
code=0
wait "$run" || code=$?
[ "$code" = 130 ] || fail "exit code $code after SIGTERM"
stderr_has '^cozad: interrupted'
if kill -0 "$child" 2>/dev/null; then fail "the child was left behind"; fi
[ -e cut/scl/seed1/run.json ] || fail "a finished row is gone"
[ ! -e cut/scl-meta/seed1/failed.json ] || fail "what was interrupted is called failed"

# What a training left to go on from is used.
touch cut/scl-meta/seed1/model.cozad.checkpoint
expect 0 "${ablate[@]}" --rows table3 --seeds 1 -o cut --dry-run
stdout_has '-o cut/scl-meta/seed1/model.cozad --resume$'
[ "$(grep -c -- '--resume' "$tmp/out")" = 1 ] || fail "--resume without a checkpoint"

rm -f "$STUB_DIR/pid"
"${ablate[@]}" --rows table3 --seeds 1 -o cut >"$tmp/out" 2>"$tmp/err" &
run=$!
wait_for "$STUB_DIR/pid"
child=$(cat "$STUB_DIR/pid")
kill -KILL "$run"
wait "$run" 2>/dev/null || true
# Its child goes on and keeps the folder to itself.
expect 5 "${ablate[@]}" --rows table3 --seeds 1 -o cut
one_line "another run works in this folder \\(process $run and its child $child\\)"
kill "$child"
for _ in $(seq 100); do
    kill -0 "$child" 2>/dev/null || break
    sleep 0.1
done
sleep 0.3 # its own child, a sleep, has the lock too
rm "$STUB_DIR/slow"
expect 0 "${ablate[@]}" --rows table3 --seeds 1 -o cut
[ "$(grep -c -- '-o cut/scl-meta/' "$STUB_DIR/calls")" = 3 ] || fail "the cut row was not tried three times"
[ "$(grep -c -- '-o cut/scl/' "$STUB_DIR/calls")" = 1 ] || fail "a finished row was run again"
stdout_has '^\| \+ Contrastive Learning \(\*CoZAD\*\) \| 92\.9 \| 85\.3 \| 60\.0 \|'

# ---- Table 6: these weights end before layer4 ---------------------------------------------------------------------------

rm -f "$STUB_DIR/calls"
expect 0 "${ablate[@]}" --backbone random:resnet18:1 --rows table6 --seeds 1 -o six
[ "$(calls train)" = 2 ] || fail "not two of four lines were trained"
stdout_has '^\| 1st \+ 2nd layers \| 91\.2 \| 83\.1 \| 60\.0 \|'
stdout_has '^\| 2nd \+ 3rd layers \| 96\.3 \| 95\.9 \| 75\.0 \| no masks \|'
stdout_has '^\| 3rd \+ 4th layers \| 92\.1 \| 84\.7 \| not in the weights \|'
stdout_has '^\| All layers \(1st-4th\) \| 95\.7 \| 95\.6 \| not in the weights \|'
stdout_has 'The weights random:resnet18:1 end before layer4'

# ---- the real thing -----------------------------------------------------------------------------------------------------

unset COZAD_ABLATE_BINARY
make_scenes
cat >real.json <<'JSON'
{"backbone": "random:resnet18:1", "image-size": "64", "feature-width": 96, "hidden-width": 64, "patches-per-image": 16,
 "threads": 1, "epochs": 1, "tasks": 1, "batch": 4}
JSON
real=("$cozad" ablate --config real.json --source scenes:mvtec:cloth --target scenes:mvtec:cloth --rows "table3:baseline,full" --seeds 1 -o real)
expect 0 "${real[@]}"
stdout_has '^\| Baseline \(SimpleNet\) \| 89\.7 \| 80\.0 \| [0-9]+\.[0-9] \|$'
[ -s real/full/seed1/log.jsonl ] || fail "no log"
before=$(sha256sum real/full/seed1/cloth.json)
expect 0 "${real[@]}"
stderr_has '2 of 2 runs are done already'
[ "$(sha256sum real/full/seed1/cloth.json)" = "$before" ] || fail "a finished row changed"
