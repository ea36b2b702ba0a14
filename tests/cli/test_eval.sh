#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad eval: what it prints, what it saves, thresholds, and data sets that are not as they should be.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
"$cozad" synth "$scenes" --scenes cloth,caps --normal 6 --test-good 3 --test-bad 4 --size 96 --seed 5 >/dev/null
good=$scenes/cloth/train/good
train_small "$tmp/a.cozad" >/dev/null
eval=("$cozad" eval -m "$tmp/a.cozad" --threads 1)
few=(--resamples 20)

# json KEY.KEY… prints one value of $tmp/out (numbers as they stand there).
json() {
    /usr/bin/env python3 -c 'import json, sys
value = json.load(open(sys.argv[1]), parse_float=str)
for key in sys.argv[2:]: value = value[key]
print(value)' "$tmp/out" "$@"
}
is() { # WANTED KEY…
    local wanted=$1 got
    shift
    got=$(json "$@") || fail "no $*"
    [ "$got" = "$wanted" ] || fail "$*: $got, wanted $wanted"
}

# --- many categories, one, a table at most 100 columns wide
expect 0 "${eval[@]}" --data "$scenes" "${few[@]}"
for row in caps cloth mean pooled; do stdout_has "^$row +[0-9.]+ [0-9.]+-[0-9.]+"; done
[ "$(awk '{ if (length > 100) n++ } END { print n + 0 }' "$tmp/out")" = 0 ] || fail "a line of more than 100 columns"
if grep -q ' $' "$tmp/out"; then fail "a line ends with a blank"; fi
expect 0 "${eval[@]}" --data "$scenes" --json "${few[@]}"
[ "$(json categories caps image_auroc)" != "" ] || fail "no image AUROC"
is 3 categories caps normal
is 4 categories cloth masks
is 0 categories cloth without_mask
is 0 categories cloth failed
for metric in image_auroc image_ap image_f1 pixel_auroc pixel_ap pixel_f1 aupro_030 aupro_005; do
    for place in mean pooled; do
        [ "$(json $place $metric)" != None ] || fail "$place $metric is undefined"
        [ "$(json $place ${metric}_low)" != None ] || fail "$place $metric has no interval"
    done
done
[ "$(json mean pixel_auroc_error_bound)" != None ] || fail "no error bound"
is random:resnet18:1 backbone
cp "$tmp/out" "$tmp/both.json"
expect 0 "${eval[@]}" --data "$scenes" --json "${few[@]}"
cmp "$tmp/out" "$tmp/both.json" || fail "the same call, other figures"
cloth=$(json categories cloth image_auroc)
expect 0 "${eval[@]}" --data "$scenes" --category cloth --json --resamples 0
is "$cloth" categories cloth image_auroc
is "$cloth" mean image_auroc
if grep -q _low "$tmp/out"; then fail "intervals without resamples"; fi
expect 0 "${eval[@]}" --data "$scenes/cloth" --json --resamples 0
is "$cloth" categories cloth image_auroc
expect 2 "${eval[@]}" --data "$scenes" --category cloth,metal
one_line 'no category "metal"; there are: caps, cloth'
expect 0 "${eval[@]}" --data "$scenes" --csv "${few[@]}"
[ "$(wc -l <"$tmp/out")" = 5 ] || fail "not a head and four lines of CSV"
stdout_has '^scope,category,image_auroc,image_auroc_low,image_auroc_high,'
stdout_has '^category,caps,[0-9.]+,'
stdout_has '^mean,,[0-9.]+,'
[ "$(awk -F, '{ print NF }' "$tmp/out" | sort -u)" = 30 ] || fail "lines of unequal length"

# --- the papers' way, exact, SimpleNet's
expect 0 "${eval[@]}" --data "$scenes" --at 64 --json --resamples 0
is 64 at
is 28672 categories cloth pixels # 7 photos of 64 x 64
expect 0 "${eval[@]}" --data "$scenes" --exact --json --resamples 0
is 0.0 pooled pixel_auroc_error_bound
expect 0 "${eval[@]}" --data "$scenes" --simplenet-compat --resamples 0
stdout_has 'oracle'
train_small "$tmp/b.cozad" --seed 2 >/dev/null
expect 2 "${eval[@]}" --data "$scenes" --best-of "$tmp/b.cozad"
one_line 'simplenet-compat'
expect 0 "${eval[@]}" --data "$scenes" --simplenet-compat --best-of "$tmp/b.cozad" --resamples 0
stdout_has '^ORACLE: .* best of 2 models'

# --- thresholds and regions
expect 0 "${eval[@]}" --data "$scenes/cloth" --threshold -100 --json --resamples 0
is 4 at_threshold true_positives
is 3 at_threshold false_positives
is 7 at_threshold regions images
expect 0 "${eval[@]}" --data "$scenes/cloth" --threshold 100 --json --resamples 0
is 0 at_threshold true_positives
is 3 at_threshold true_negatives
is '[0, 0, 0, 0, 0]' at_threshold regions found
expect 0 "${eval[@]}" --data "$scenes/cloth" --threshold 0.1 --pixel-threshold -100 --mm-per-pixel 0.1 --resamples 0
stdout_has '^1001-10000 +100 '
stdout_has '^all +[0-9]+ of [0-9]+'
expect 2 "${eval[@]}" --data "$scenes/cloth" --threshold calibrated
one_line 'not calibrated'
expect 2 "${eval[@]}" --data "$scenes/cloth" --threshold high
expect 2 "${eval[@]}" --data "$scenes/cloth" --pixel-threshold 1
expect 2 "${eval[@]}" --data "$scenes/cloth" --at 64 --mm-per-pixel 1
expect 2 "${eval[@]}" --data "$scenes/cloth" --at 0
expect 2 "${eval[@]}" --data "$scenes/cloth" --json --csv
expect 2 "${eval[@]}" --data "$scenes/cloth" --normal "$good"
expect 2 "${eval[@]}"

# --- pictures, page, maps
expect 0 "${eval[@]}" --data "$scenes" --report "$tmp/page.html" --overlays "$tmp/over" --save-maps "$tmp/maps" "${few[@]}"
grep -q '</html>' "$tmp/page.html" || fail "no page"
[ -s "$tmp/over/caps/test/good/000.png.overlay.png" ] || fail "no overlay"
[ -s "$tmp/maps/caps/test/good/000.tiff" ] || fail "no map where MVTec's code looks"
[ "$(find "$tmp/maps" -name '*.tiff' | wc -l)" = 14 ] || fail "not 14 maps"
expect 0 "${eval[@]}" --data "$scenes" --at 64 --report "$tmp/page.html" --overlays "$tmp/over64" "${few[@]}"
[ -s "$tmp/over64/caps/test/good/000.png.overlay.png" ] || fail "no overlay"
expect 5 "${eval[@]}" --data "$scenes" --save-maps /proc/nowhere --resamples 0
expect 5 "${eval[@]}" --data "$scenes" --save-scores "$tmp/no/such/scores.jsonl" --resamples 0

# --- plain folders
mkdir -p "$tmp/bad" "$tmp/truth"
kind=$(ls "$scenes/cloth/test" | grep -v good | head -n 1)
cp "$scenes/cloth/test/$kind/000.png" "$tmp/bad/x.png"
cp "$scenes/cloth/ground_truth/$kind/000_mask.png" "$tmp/truth/x_mask.png"
expect 0 "${eval[@]}" --normal "$scenes/cloth/test/good" --abnormal "$tmp/bad" --masks "$tmp/truth" --json --resamples 0
stdout_has '"normal":3,"anomalous":1,"masks":1,'
expect 2 "${eval[@]}" --abnormal "$tmp/bad"
expect 2 "${eval[@]}" --normal "$good" --masks "$tmp/truth"

# --- photos that were trained on
expect 0 "${eval[@]}" --normal "$good" --abnormal "$tmp/bad" --json --resamples 0
stderr_has 'learnt from 6 of the 7 test photos'
is 6 trained_on
stdout_has '"pixel_auroc":null'

# --- not as it should be: a mask of another shape, a mask without a photo, an empty mask, no defects, unreadable files
odd=$tmp/odd/cloth
mkdir -p "$tmp/odd"
cp -r "$scenes/cloth" "$odd"
printf 'P5 96 48 255\n' >"$odd/ground_truth/$kind/000_mask.png"
head -c 4608 /dev/zero | tr '\0' '\377' >>"$odd/ground_truth/$kind/000_mask.png"
expect 3 "${eval[@]}" --data "$odd" --json --resamples 0
stderr_has "$kind/000.png: the mask is 96x48, the photo 96x96"
stderr_has '^cozad: 1 of 7 unreadable'
is 1 categories cloth failed
is 3 categories cloth anomalous
printf 'P5 48 48 255\n' >"$odd/ground_truth/$kind/000_mask.png"
head -c 2304 /dev/zero | tr '\0' '\377' >>"$odd/ground_truth/$kind/000_mask.png"
expect 0 "${eval[@]}" --data "$odd" --json --resamples 0 # the same shape at half the size is fine
is $((6 * 96 * 96 + 48 * 48)) categories cloth pixels
{ printf 'P5 96 96 255\n'; head -c 9216 /dev/zero; } >"$odd/ground_truth/$kind/000_mask.png"
expect 0 "${eval[@]}" --data "$odd" --json --resamples 0
stderr_has 'cloth: 1 masks of anomalous photos are empty'
rm "$odd/test/$kind/000.png"
expect 0 "${eval[@]}" --data "$odd" --json --resamples 0
stderr_has "$kind/000_mask.png: a mask without a photo"
mkdir -p "$tmp/odd/plain/test" "$tmp/odd/plain/train"
cp -r "$scenes/caps/test/good" "$tmp/odd/plain/test/good"
cp -r "$scenes/caps/train/good" "$tmp/odd/plain/train/good"
expect 0 "${eval[@]}" --data "$tmp/odd" --json --resamples 0
stderr_has 'plain: no anomalous test photo: its figures are undefined'
is None categories plain image_auroc
[ "$(json mean image_auroc)" != None ] || fail "an undefined category makes the mean undefined"
expect 0 "${eval[@]}" --data "$tmp/odd"
stdout_has '^plain +undefined'

# 30 % unreadable: the others count
mkdir "$tmp/mixed"
for i in 0 1 2 3 4 5 6; do cp "$good/000.png" "$tmp/mixed/$i.png"; done
for i in 7 8 9; do echo 'no picture' >"$tmp/mixed/$i.png"; done
expect 3 "${eval[@]}" --normal "$tmp/mixed" --abnormal "$tmp/bad" --json --resamples 0
stderr_has '^cozad: 3 of 11 unreadable'
stderr_has 'mixed/7.png: '
stdout_has '"normal":7,"anomalous":1,.*"failed":3,'
mkdir "$tmp/broken"
echo 'no picture' >"$tmp/broken/a.png"
expect 3 "${eval[@]}" --normal "$tmp/broken"
stderr_has 'none of the 1 test photos could be scored'

# --- manifests: no labels, a byte order mark, CRLF, quotes and commas, a path that leaves its folder
cp "$tmp/bad/x.png" "$tmp/mixed/bad, \"x\".png"
printf 'path,split\n0.png,test\n' >"$tmp/mixed/unlabelled.csv"
expect 3 "${eval[@]}" --data "$tmp/mixed/unlabelled.csv"
one_line 'has a label .*column "label"'
printf '\xef\xbb\xbfpath,label,split\r\n0.png,0,test\r\n"bad, ""x"".png",1,test\r\n' >"$tmp/mixed/good.csv"
expect 0 "${eval[@]}" --data "$tmp/mixed/good.csv" --json --resamples 0
stdout_has '"normal":1,"anomalous":1,'
printf 'path,label,split\n0.png,0,test\n../bad/x.png,1,test\n' >"$tmp/mixed/leaves.csv"
expect 3 "${eval[@]}" --data "$tmp/mixed/leaves.csv"
one_line 'leaves'
expect 3 "${eval[@]}" --data "$tmp/home"

# --- the paper's tables
mkdir -p "$tmp/sets/MVTec_AD" "$tmp/sets/BrainMRI/yes" "$tmp/sets/BrainMRI/no"
cp -r "$scenes/cloth" "$tmp/sets/MVTec_AD/carpet"
cp -r "$scenes/caps" "$tmp/sets/MVTec_AD/spoon"
cp "$scenes/caps/test/good/"*.png "$tmp/sets/BrainMRI/no"
cp "$tmp/bad/x.png" "$tmp/sets/BrainMRI/yes"
expect 0 "${eval[@]}" --suite cozad-paper --root "$tmp/sets" --at 64 "${few[@]}"
stdout_has '^\| Industrial \| MVTec-AD \[1\] \| 91\.5 \| 86\.1 \| 92\.0 \| 91\.8 \| 89\.8 \| 92\.3 \| 92\.9 \| [0-9.]+ \[2\] \[3\] \| [0-9.]+-[0-9.]+ \|$'
stdout_has '^\| Industrial \| VisA \| 82\.1 \| 78\.0 \| 83\.0 \| 78\.1 \| 79\.8 \| 87\.0 \| 85\.3 \| \| \|$'
stdout_has '^\| Medical \| BR35H \[[0-9]\] \| 51\.9 \|'
stdout_has '^\| Medical \| BrainMRI \[[0-9]\] .* \| 84\.9 \| no masks \| \|$'
stdout_has 'NOT zero-shot on MVTec-AD: .*learnt from its training photos'
stdout_has '1 of the 15 categories of MVTec-AD'
stdout_has 'not all of it zero-shot'
stderr_has '"spoon" is no category'
expect 0 "${eval[@]}" --suite cozad-paper --root "$tmp/sets" --at 64 --json "${few[@]}"
is False datasets MVTec-AD ours zero_shot
is True datasets BrainMRI ours zero_shot
is None datasets BTAD ours
is 92.9 datasets MVTec-AD paper_percent image_auroc CoZAD
expect 3 "${eval[@]}" --suite cozad-paper --root "$tmp/maps"
one_line "none of the paper's data sets"
expect 2 "${eval[@]}" --suite other --root "$tmp/sets"
expect 2 "${eval[@]}" --suite cozad-paper
# A model says which categories it learnt from.
expect 0 "$cozad" train --method cozad --source "$tmp/sets/MVTec_AD:mvtec:spoon,carpet" "${small[@]}" --epochs 1 --batch 4 --seed 1 -o "$tmp/many.cozad"
expect 0 "$cozad" eval -m "$tmp/many.cozad" --suite cozad-paper --root "$tmp/sets" --at 64 --threads 1 --resamples 0
stdout_has 'its training had a category "carpet"'
echo PASS
