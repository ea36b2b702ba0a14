#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad eval --contaminate: what is injected, what stays in the test set, the table's arithmetic, refusals, going on after an
# interruption. Most of it with a script in the place of train and eval; the end with the real ones.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$root/tests/cli/make_small.sh"
cd "$tmp"

# ---- data: names are enough for the stand-in -------------------------------------------------------------------------

photo() { # PATH…: empty files
    for path in "$@"; do
        mkdir -p "${path%/*}"
        : >"$path"
    done
}
photo set/nut/train/good/{00..35}.png set/nut/test/good/{00..09}.png set/nut/test/{bent,cut}/{00..07}.png set/nut/test/rare/{00..02}.png
photo set/cap/train/good/{00..17}.png set/cap/test/good/{00..03}.png set/cap/test/split/{00..09}.png
for kind in bent cut rare; do
    for path in set/nut/test/$kind/*.png; do photo "set/nut/ground_truth/$kind/$(basename "$path" .png)_mask.png"; done
done

# train writes its command line as the model, eval makes a figure of it: by seed, rate and method, as in the table below.
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
    if [ -e "$STUB_DIR/bad" ] && [[ $all == *"$(cat "$STUB_DIR/bad")"* ]]; then exit 4; fi
    echo "$all" >"$model"
    echo '{"images": 40, "steps": 7, "seconds": 1.5}'
    exit 0
fi
trained=$(cat "$model")
case "${data##*/} $(sed 's/.*--seed \([0-9]*\).*/\1/' <<<"$trained")" in
"rate0 1") plain=0.80 other=0.81 ;;
"rate0 2") plain=0.70 other=0.73 ;;
"rate0 3") plain=0.90 other=0.88 ;;
"rate10 1") plain=0.70 other=0.80 ;;
"rate10 2") plain=0.66 other=0.72 ;;
"rate10 3") plain=0.74 other=0.88 ;;
*) plain=0.60 other=0.65 ;;
esac
figure=$plain
[[ $trained == *"--method cozad"* ]] && figure=$other
echo "{\"categories\": {}, \"mean\": {\"image_auroc\": $figure, \"pixel_auroc\": null}, \"trained_on\": $(grep -c '"injected/' "$data/manifest.jsonl")}"
STUB
chmod +x "$COZAD_ABLATE_BINARY"
calls() { grep -c "^$1 " "$STUB_DIR/calls" || true; }
run=("$cozad" eval --data set:mvtec --methods plain,cozad --detectors simplenet)
nut=("${run[@]}" --category nut)

# ---- refused ---------------------------------------------------------------------------------------------------------

refused() { # PATTERN COMMAND…
    local pattern=$1
    shift
    expect 2 "$@"
    one_line "$pattern"
}
refused 'a list of shares' "${nut[@]}" --contaminate 0,x -o none
refused 'a list of shares' "${nut[@]}" --contaminate 0,51% -o none
refused 'a rate is there twice' "${nut[@]}" --contaminate 5,5.0% -o none
refused 'needs --data' "$cozad" eval --contaminate 0
refused '"comit" is none of those known: plain\|' "${nut[@]}" --methods plain,comit --contaminate 0 -o none
refused '"glow" is none of those known: simplenet' "${nut[@]}" --detectors glow --contaminate 0 -o none
refused 'there twice' "${nut[@]}" --methods plain,plain --contaminate 0 -o none
refused 'seeds' "${nut[@]}" --contaminate 0 --seeds 0 -o none
refused 'goes with --contaminate-from same' "${nut[@]}" --contaminate 0 --contaminate-from other --contaminate-keep-in-test yes -o none
refused '"mvtek" is no layout' "$cozad" eval --contaminate 0 --data set:mvtek --methods plain -o none
refused 'no category "bolt"' "${run[@]}" --category bolt --contaminate 0 -o none
refused 'has one category' "$cozad" eval --contaminate 0,10 --contaminate-from other --data set/nut --methods plain -o none
refused 'is no option of cozad train' "${nut[@]}" --contaminate 0 --with cozad:seed=3 -o none
refused 'not METHOD:NAME=VALUE' "${nut[@]}" --contaminate 0 --with comet -o none
refused 'not a value of --epochs' "${nut[@]}" --contaminate 0 --with plain:epochs=many -o none
refused 'unknown option' "${nut[@]}" --contaminate 0 --threshold 3 -o none
refused 'goes with --contaminate' "$cozad" eval -m x --data set --seeds 3
# 30 % of 36 normal photos takes 15 defective ones; half of 8, 8 and 3 is 4, 4 and 1.
refused 'nut: 30 % of 36 normal photos takes 15 defective ones, and 9 of 19 may be injected; --contaminate-cap' "${nut[@]}" --contaminate 0,30 -o none
[ ! -e none ] || fail "a refused call made a folder"

# ---- what is injected ------------------------------------------------------------------------------------------------

expect 0 "${nut[@]}" --contaminate 10,0,18% --seeds 3 -o same --with cozad:epochs=3 --report same.html
for seed in 1 2 3; do
    dir=same/nut/seed$seed
    [ "$(tail -n +2 "$dir/rate10/injected.csv" | wc -l)" = 4 ] || fail "10 % is not 4 of 40"
    [ "$(tail -n +2 "$dir/rate18/injected.csv" | wc -l)" = 8 ] || fail "18 % is not 8 of 44"
    [ "$(wc -l <"$dir/rate0/injected.csv")" = 1 ] || fail "0 % injects"
    # The smaller rate's photos are the first of the larger one's.
    cmp -s <(cut -d, -f1 "$dir/rate10/injected.csv") <(head -n 5 "$dir/rate18/injected.csv" | cut -d, -f1) || fail "seed $seed: not nested"
    # Evenly: of 4 photos at most 2 a kind, the kind of three photos gives one.
    for kind in bent cut rare; do
        count=$(grep -c ",$kind," "$dir/rate10/injected.csv" || true)
        [ "$count" -ge 1 ] && [ "$count" -le 2 ] || fail "seed $seed: $count of $kind"
    done
    for rate in 0 10 18; do
        [ "$(grep -c '"photos/nut/train.*"train"' "$dir/rate$rate/manifest.jsonl")" = 36 ] || fail "not 36 normal photos"
        # The same test photos at every rate: 10 normal, 19 - 8 defective.
        cmp -s <(grep '"test"' "$dir/rate$rate/manifest.jsonl") <(grep '"test"' "$dir/rate0/manifest.jsonl") || fail "other test photos"
    done
    [ "$(grep -c '"test","label":0' "$dir/rate0/manifest.jsonl") $(grep -c '"test","label":1' "$dir/rate0/manifest.jsonl")" = "10 11" ] || fail "the test set"
    if grep -q '"train".*label' "$dir/rate18/manifest.jsonl"; then fail "a training photo has a label"; fi
    tail -n +2 "$dir/rate18/injected.csv" | cut -d, -f1 | while read -r path; do
        grep -q "\"injected/$path\",\"split\":\"train\"" "$dir/rate18/manifest.jsonl" || fail "$path is not trained on"
        if grep -q "\"photos/$path\"" "$dir/rate0/manifest.jsonl"; then fail "$path is in the test set"; fi
    done
done
cmp -s same/nut/seed{1,2}/rate18/injected.csv && fail "two seeds draw alike"
[ "$(realpath same/nut/seed1/rate0/photos)" = "$(realpath set)" ] || fail "the link"
grep -q '"mask":\["photos/nut/ground_truth/cut/0[0-9]*_mask.png"\]' same/nut/seed1/rate0/manifest.jsonl || fail "no mask"
# Once more, with other methods: the same photos.
expect 0 "$cozad" eval --data set:mvtec --methods plain --detectors simplenet --category nut --contaminate 0,10,18% --seeds 2 -o again
diff -r <(cd same && cat nut/seed[12]/rate*/{injected.csv,manifest.jsonl}) <(cd again && cat nut/seed[12]/rate*/{injected.csv,manifest.jsonl}) ||
    fail "the same seeds draw other photos"

# What train and eval were told.
grep -q '^train --method simplenet --detector simplenet --config same/base.json .*--data same/nut/seed1/rate0 --layout jsonl --seed 1 --log same/nut/seed1/rate0/simplenet-plain/log.jsonl -o ' "$STUB_DIR/calls" || fail "plain"
grep -q '^train --method cozad --detector simplenet .*--epochs=3 --seed 3' "$STUB_DIR/calls" || fail "cozad"
if grep -q '^train --method simplenet .*--epochs=3' "$STUB_DIR/calls"; then fail "--with reached another method"; fi
[ ! -e same/nut/seed1/rate0/simplenet-plain/model.cozad ] || fail "a model was kept"

# ---- the table's arithmetic ------------------------------------------------------------------------------------------

# By hand, seeds 1 to 3 at 10 %: plain 70, 66, 74: mean 70, std 4. cozad 80, 72, 88: mean 80, std 8.
# cozad - plain 10, 6, 14: mean 10, std 4, half width 4.3027 * 4 / sqrt 3 = 9.937.
# loss of plain 10, 4, 16: mean 10, std 6, half 14.905. Of cozad 1, 1, 0: mean 2/3, std 0.5774, half 1.4342.
# saved 9, 3, 16: mean 28/3, std 6.506, half 16.163.
expect 0 "${nut[@]}" --contaminate 10,0,18% --seeds 3 -o same --with cozad:epochs=3 --resume
stdout_has '^\| Detector \| Rate \| Injected \| Of these tested \| plain \| cozad \| cozad − plain \| loss, plain \| loss, cozad \| loss saved, cozad \|$'
stdout_has '^\| simplenet \| 0 % \| 0 of 36 \| 0 \| 80\.0 ± 10\.0 \| 80\.7 ± 7\.5 \| \+0\.7 \[-5\.6, \+6\.9\] \| – \| – \| – \|$'
stdout_has '^\| simplenet \| 10 % \| 4 of 40 \| 0 \| 70\.0 ± 4\.0 \| 80\.0 ± 8\.0 \| \+10\.0 \[\+0\.1, \+19\.9\] \| \+10\.0 \[-4\.9, \+24\.9\] \| \+0\.7 \[-0\.8, \+2\.1\] \| \+9\.3 \[-6\.8, \+25\.5\] \|$'
stdout_has '^36 normal training photos; tested on 10 normal and 11 defective photos, at every rate the same\.$'
cmp -s "$tmp/out" same/tables.md || fail "tables.md is not what was printed"
expect 0 "${nut[@]}" --contaminate 10,0,18% --seeds 3 -o same --with cozad:epochs=3 --resume --csv
stdout_has '^nut,simplenet,10,10,36,4,0,plain,3,0\.7,0\.04,,,,0\.1,-0\.0490[0-9]*,0\.2490[0-9]*,,,$'
stdout_has '^nut,simplenet,10,10,36,4,0,cozad,3,0\.8,0\.08,0\.1,0\.0006[0-9]*,0\.1993[0-9]*,0\.00666[0-9]*,-0\.0076[0-9]*,0\.0210[0-9]*,0\.0933[0-9]*,-0\.0682[0-9]*,0\.2549[0-9]*$'
expect 0 "${nut[@]}" --contaminate 10,0,18% --seeds 3 -o same --with cozad:epochs=3 --resume --json
stdout_has '"keep_in_test":false'
stdout_has '"rate_percent":18\.0,"share_percent":18\.18181[0-9]*,"capped":false,"normal":36,"injected":8,"in_test":0'
stdout_has '"target":"nut","seed":2,"rate_percent":10\.0,"detector":"simplenet","method":"cozad"'
for pattern in '<h3>simplenet</h3>' 'cozad, 10 %: 80.0' 'class="bar"'; do grep -q "$pattern" same.html || fail "the page lacks $pattern"; done

# ---- other seeds, kept photos, other categories, a cap -----------------------------------------------------------------

refused '--resume goes on' "${nut[@]}" --contaminate 10,0,18% --seeds 3 -o same
refused 'holds results of another protocol: rates' "${nut[@]}" --contaminate 0,10 --seeds 3 -o same --with cozad:epochs=3 --resume
rm "$STUB_DIR/calls"
expect 0 "${nut[@]}" --contaminate 10,0,18% --seeds 4 -o same --with cozad:epochs=3 --resume
[ "$(calls train)" = 6 ] || fail "not one seed more"

expect 0 "${nut[@]}" --contaminate 0,10 --contaminate-keep-in-test yes --seeds 1 -o kept --json --report kept.html
stdout_has '"keep_in_test":true'
stdout_has '"injected":4,"in_test":4'
stdout_has 'STAY IN the test set'
[ "$(grep -c ',yes$' kept/nut/seed1/rate10/injected.csv)" = 4 ] || fail "injected.csv does not say that they are tested"
[ "$(grep -c '"test","label":1' kept/nut/seed1/rate10/manifest.jsonl)" = 19 ] || fail "photos left the test set"
cmp -s <(cut -d, -f1-5 kept/nut/seed1/rate10/injected.csv) <(cut -d, -f1-5 same/nut/seed1/rate10/injected.csv) || fail "other photos than without"
grep -q '^| simplenet | 10 % | 4 of 40 | 4: \*\*trained on\*\* |' kept/tables.md || fail "the row does not say it"
grep -q 'trained on\.</strong>' kept.html || fail "the page does not say it"

expect 0 "${nut[@]}" --contaminate 0,20 --contaminate-from other --seeds 1 -o other
[ "$(grep -c '^cap/test/split/.*,cap,split,1,20,no$' other/nut/seed1/rate20/injected.csv)" = 9 ] || fail "not 9 of the other category"
[ "$(grep -c '"test","label":1' other/nut/seed1/rate20/manifest.jsonl)" = 19 ] || fail "the test set of another category"
stdout_has 'of other categories'

expect 0 "${nut[@]}" --contaminate 0,30 --contaminate-cap --seeds 1 -o capped
stdout_has '^\| simplenet \| 30 % \(came out at 20\.0\) \| 9 of 45 \| 0 \|'
expect 0 "${nut[@]}" --contaminate 0,30 --contaminate-most 0.9 --seeds 1 -o most
stdout_has '^\| simplenet \| 30 % \| 15 of 51 \| 0 \|'

# A table names no kinds: the first folders do.
photo tab/Free/{00..17}.png tab/Hole/{00..03}.png tab/Crack/{00..03}.png
(cd tab && echo path,split,label && printf '%s,train,0\n' Free/{00..15}.png && printf '%s,test,0\n' Free/1[67].png &&
    printf '%s,test,1\n' {Hole,Crack}/*.png) >split.csv && mv split.csv tab/
expect 0 "$cozad" eval --contaminate 0,20 --data tab:csv --methods plain --detectors simplenet --seeds 1 -o table
for kind in Hole Crack; do
    [ "$(grep -c ",$kind,1,20,no$" table/tab/seed1/rate20/injected.csv)" = 2 ] || fail "not 2 of $kind"
done

# Both categories, and their mean, seed by seed.
expect 0 "${run[@]}" --contaminate 0,10 --seeds 2 -o both
stdout_has '^## cap$'
stdout_has '^## mean$'
stdout_has '^\| simplenet \| 10 % \| 6 of 60 \| 0 \| 68\.0 ± 2\.8 \|'

# ---- a run that fails, an interruption -----------------------------------------------------------------------------------

echo '--method cozad' >"$STUB_DIR/bad"
expect 3 "${nut[@]}" --contaminate 0,10 --seeds 1 -o failing
stdout_has '^\| simplenet \| 10 % \| 4 of 40 \| 0 \| 70\.0 \| failed \| – \|'
rm "$STUB_DIR/bad"
expect 0 "${nut[@]}" --contaminate 0,10 --seeds 1 -o failing --resume
stdout_has '^\| simplenet \| 10 % \| 4 of 40 \| 0 \| 70\.0 \| 80\.0 \| \+10\.0 \|'

wait_for() { # FILE
    for _ in $(seq 300); do
        [ ! -s "$1" ] || return 0
        sleep 0.1
    done
    fail "waited in vain for $1"
}
echo '--data cut/nut/seed1/rate10' >"$STUB_DIR/slow"
"${nut[@]}" --contaminate 0,10 --seeds 1 -o cut >"$tmp/out" 2>"$tmp/err" &
job=$!
wait_for "$STUB_DIR/pid"
kill -TERM "$job"
code=0
wait "$job" || code=$?
[ "$code" = 130 ] || fail "exit code $code after SIGTERM"
stderr_has '--resume goes on'
[ -e cut/nut/seed1/rate0/simplenet-cozad/run.json ] || fail "a finished run is gone"
rm "$STUB_DIR/slow" "$STUB_DIR/calls"
expect 0 "${nut[@]}" --contaminate 0,10 --seeds 1 -o cut --resume
[ "$(calls train)" = 2 ] || fail "not the two that were missing"
# The photos of a run that is there must be those that it was made with.
"${run[@]}" --quiet --category nut --methods plain --contaminate 0,10 --seeds 1 -o moved >/dev/null
photo set/nut/train/good/99.png
expect 2 "${nut[@]}" --contaminate 0,10 --seeds 1 -o moved --resume
stderr_has 'the data set has changed since'

# ---- the real thing ------------------------------------------------------------------------------------------------------

unset COZAD_ABLATE_BINARY
"$cozad" synth scenes --scenes cloth --normal 6 --test-good 3 --test-bad 8 --size 96 --seed 5 >/dev/null
real=("$cozad" eval --contaminate 0,20% --data scenes/cloth:mvtec "${small[@]}" --epochs 1 --tasks 1 --batch 4
    --methods plain,cozad --detectors simplenet --contrast off --seeds 1 --cache-dir store -o real)
expect 0 "${real[@]}" --report real.html
stdout_has '^\| simplenet \| 20 % \| 2 of 8 \| 0 \| [0-9]+\.[0-9] \| [0-9]+\.[0-9] \|'
grep -q '"photos": 8' real/cloth/seed1/rate20/simplenet-cozad/run.json || fail "not trained on 8 photos"
grep -q '"trained_on": 0' real/cloth/seed1/rate20/simplenet-plain/run.json || fail "tested on photos that were trained on"
[ -n "$(find store -type f | head -n 1)" ] || fail "the feature store was not passed on"
before=$(sha256sum real/cloth/seed1/rate20/simplenet-plain/run.json)
expect 0 "${real[@]}" --resume
stderr_has '4 of 4 runs are done already'
[ "$(sha256sum real/cloth/seed1/rate20/simplenet-plain/run.json)" = "$before" ] || fail "a finished run changed"
expect 0 "$cozad" eval --contaminate 20 --contaminate-keep-in-test yes --data scenes/cloth "${small[@]}" --epochs 1 \
    --methods plain --detectors simplenet --seeds 1 --cache-dir store -o kept-real
grep -q '"trained_on": 2' kept-real/cloth/seed1/rate20/simplenet-plain/run.json || fail "the overlap that eval finds is another"
