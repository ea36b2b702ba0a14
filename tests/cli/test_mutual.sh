#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad mutual: photos that score each other. Planted defects come first, tables and JSON parse, pictures, photos that cannot be read,
# figures of a labelled data set.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
export OMP_WAIT_POLICY=passive
net=(--backbone random:resnet18:1 --image-size 128 --threads 1)
mutual() { "$cozad" mutual "${net[@]}" "$@"; }
scenes=$tmp/scenes
"$cozad" synth "$scenes" --scenes cloth --normal 1 --test-good 16 --test-bad 8 --size 128 --seed 5 >/dev/null
test=$scenes/cloth/test
photos=$tmp/photos
mkdir "$photos"
for i in "$test"/good/*.png; do cp "$i" "$photos/good${i##*/}"; done
for i in "$test"/hole/*.png; do cp "$i" "$photos/bad${i##*/}"; done
count=$(find "$photos" -name '*.png' | wc -l)
bad=$(find "$photos" -name 'bad*.png' | wc -l)
[ "$bad" -ge 2 ] && [ "$count" -ge $((bad + 16)) ] || fail "the photos are not there"

# --- what is odd comes first
expect 0 mutual "$photos" --csv
cp "$tmp/out" "$tmp/all.csv"
stdout_has '^path,score,raw,placed,place_x,place_y,same_piece,nearest,error$'
[ "$(wc -l <"$tmp/out")" = $((count + 1)) ] || fail "not a line for each photo"
[ "$(sed -n "2,$((bad + 1))p" "$tmp/out" | grep -c '/bad')" = "$bad" ] || fail "the defects are not first"
awk -F, 'NR > 1 { if (NF != 9 || $9 != "" || (NR > 2 && $2 + 0 > last) || $3 <= 0 || $5 < 0 || $5 > 127 || $6 > 127 || $8 == $1) exit 1; last = $2 + 0 }' \
    "$tmp/out" || fail "not sorted by score, or not a table"
expect 0 mutual "$photos" --csv
cmp "$tmp/out" "$tmp/all.csv" || fail "the same photos, another table"
expect 0 mutual "$photos" --csv --seed 7
! cmp -s "$tmp/out" "$tmp/all.csv" || fail "--seed changes nothing"
expect 0 mutual "$photos" --top 3
[ "$(wc -l <"$tmp/out")" = 5 ] || fail "--top 3 shows something else"
stdout_has "^and $((count - 3)) more \\(--top $count\\)\$"
stdout_has '^ *[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9]+ +[0-9]+,[0-9]+ +.*/bad.*\.png  \(like .*\.png\)$'

# --- JSON and pictures
expect 0 mutual "$photos" --json --top 2 --maps "$tmp/maps" --overlay
[ "$(wc -l <"$tmp/out")" = 2 ] || fail "not two lines"
stdout_has '^\{"path":".*/bad.*\.png","score":[0-9.]+,"raw":[0-9.]+,"placed":[0-9.]+,"place":\[[0-9]+,[0-9]+\],"same_piece":[0-9],"nearest":".*\.png","map":".*\.map\.png","overlay":".*\.overlay\.png"\}$'
[ "$(find "$tmp/maps" -name '*.map.png' | wc -l)" = "$count" ] || fail "maps"
[ "$(find "$tmp/maps" -name '*.overlay.png' | wc -l)" = "$count" ] || fail "overlays"

# --- a page: the odd photos first
expect 0 mutual "$photos" --csv --report "$tmp/odd.html"
cmp "$tmp/out" "$tmp/all.csv" || fail "a page changes the table"
[ "$(grep -c '<figure' "$tmp/odd.html")" -ge 1 ] || fail "no pictures"
[ "$(grep -o 'data:image/jpeg' "$tmp/odd.html" | wc -l)" = $((2 * count)) ] || fail "not a photo and an overlay for each"
grep -q "<dd>$count</dd>" "$tmp/odd.html" || fail "the page does not say how many"
grep -Eq 'by neighbourhoods of 3 x 3|patch by patch' "$tmp/odd.html" || fail "the page does not say how"
grep -q 'Random weights' "$tmp/odd.html" || fail "the page hides random weights"
expect 5 mutual "$photos" --report "$tmp/nowhere/odd.html"
one_line 'nowhere/odd\.html'
expect 2 mutual --data "$scenes/cloth" --report "$tmp/no"

# --- the same piece once more: each defect is photographed twice
for i in "$photos"/bad*.png; do cp "$i" "${i%.png}-again.png"; done
first=$(basename "$(find "$photos" -name 'bad*.png' -not -name '*-again.png' | sort | head -n 1)" .png)
expect 0 mutual "$photos" --csv --same-piece leave-out
[ "$(sed -n "2,$((2 * bad + 1))p" "$tmp/out" | grep -c '/bad')" = $((2 * bad)) ] || fail "twins hide their defects"
awk -F, -v a="/$first.png" -v b="/$first-again.png" 'index($1, a) && $7 >= 1 && index($8, b) { found = 1 } END { exit !found }' "$tmp/out" ||
    fail "a twin is not recognised"
raw() { grep "/$first\.png," "$tmp/out" | head -n 1 | cut -d, -f3; }
apart=$(raw)
expect 0 mutual "$photos" --csv --same-piece keep
[ "$(cut -d, -f7 "$tmp/out" | sort -u | tr '\n' ' ')" = '0 same_piece ' ] || fail "keep leaves something out"
awk -v a="$apart" -v k="$(raw)" 'BEGIN { exit !(k < a) }' || fail "kept twins change nothing: $(raw), $apart"
rm "$photos"/*-again.png

# --- how they are compared is said, unless it was asked for or -q
expect 0 mutual "$photos" --csv
cmp "$tmp/out" "$tmp/all.csv" || fail "the same photos, another table"
stderr_has '^cozad: --neighbourhood [13] --among (similar|drawn): the nearest twentieth of the photos is at 0\.[0-9]+ of the middle distance \(parts lie (alike|anyhow)\), a photo has [0-9.]+ others of its piece$'
way=$(sed -nE 's/^cozad: (--neighbourhood . --among [a-z]+):.*/\1/p' "$tmp/err")
# shellcheck disable=SC2086 # four words
expect 0 mutual "$photos" --csv $way
cmp "$tmp/out" "$tmp/all.csv" || fail "asked for, another table: $way"
[ ! -s "$tmp/err" ] || fail "what was asked for is said again"
for way in '--neighbourhood 1' '--neighbourhood 3' '--among drawn --candidates 5' '--among similar --candidates 5'; do
    # shellcheck disable=SC2086 # two or four words
    expect 0 mutual "$photos" --csv $way -q
    [ ! -s "$tmp/err" ] || fail "-q is not quiet"
    [ "$(sed -n "2,$((bad + 1))p" "$tmp/out" | grep -c '/bad')" = "$bad" ] || fail "the defects are not first with $way"
    cut -d, -f3 "$tmp/out" | sort >"$tmp/raw.${way//[^a-z0-9]/}"
done
! cmp -s "$tmp/raw.neighbourhood1" "$tmp/raw.neighbourhood3" || fail "--neighbourhood changes nothing"
! cmp -s "$tmp/raw.amongdrawncandidates5" "$tmp/raw.amongsimilarcandidates5" || fail "--among changes nothing"

# --- photos that cannot be read are named, the others compared
echo 'this is text' >"$photos/text.png"
expect 3 mutual "$photos" "$tmp/nowhere.png" --csv
stderr_has 'text\.png: .*; skipped$'
stderr_has 'nowhere\.png'
stdout_has '/text\.png,,,,,,,,could not be used$'
stdout_has '/nowhere\.png,,,,,,,,could not be used$'
[ "$(wc -l <"$tmp/out")" = $((count + 3)) ] || fail "not a line for each"
expect 3 mutual "$photos" --json
stdout_has '"path":".*text\.png","error":"could not be used"'
expect 3 mutual "$photos"
rm "$photos/text.png"
printf 'P5 10 10 255\n%0100d' 0 >"$tmp/small.pgm" # has nothing of the region
expect 3 mutual "$photos" "$tmp/small.pgm" --csv --roi 20,20,100,100
stderr_has 'small\.pgm: .*; skipped$'
stdout_has '/small\.pgm,,,,,,,,could not be used$'
[ "$(wc -l <"$tmp/out")" = $((count + 2)) ] || fail "not a line for each"

# --- a labelled data set
expect 0 mutual --data "$scenes/cloth" --json --resamples 0 --save-scores "$tmp/scores.jsonl"
cp "$tmp/out" "$tmp/figures.json"
stdout_has '"protocol":"transductive"'
auroc=$(sed -nE 's/.*"cloth":\{"image_auroc":([0-9.]+),.*"pixel_auroc":([0-9.]+).*/\1 \2/p' "$tmp/out")
awk -v a="$auroc" 'BEGIN { split(a, f, " "); exit !(f[1] > 0.7 && f[2] > 0.8) }' || fail "image and pixel AUROC: $auroc"
expect 0 "$cozad" metrics "$tmp/scores.jsonl" --json --resamples 0
stdout_has "\"image_auroc\":${auroc% *},"
head -n 1 "$tmp/scores.jsonl" | grep -q '"protocol": *"transductive"' || fail "saved scores do not name the protocol"
expect 0 mutual --data "$scenes/cloth" --resamples 20 --layout mvtec
stdout_has 'transductive'
stdout_has '^cloth '
cp "$test/good/000.png" "$tmp/kept.png"
echo 'this is text' >"$test/good/000.png"
expect 3 mutual --data "$scenes/cloth" --csv --resamples 0
stdout_has '^category,cloth,.*,1$'
stderr_has 'transductive'
stderr_has '000\.png'
mv "$tmp/kept.png" "$test/good/000.png"

# --- refusals
expect 2 mutual
one_line 'mutual needs photos'
expect 2 mutual "$photos" --data "$scenes/cloth"
expect 2 mutual "$photos" --json --csv
expect 2 mutual "$photos" --candidates 0
one_line 'candidates'
expect 2 mutual "$photos" --overlay
expect 2 mutual "$photos" --save-scores "$tmp/no"
expect 2 mutual "$photos" --same-piece perhaps
expect 2 mutual "$photos" --neighbourhood 2
expect 2 mutual "$photos" --among few
expect 2 mutual "$photos" --image-size big
mkdir "$tmp/few"
cp "$photos"/good00[0-6].png "$tmp/few"
expect 3 mutual "$tmp/few"
one_line 'compared with each other from 8 on; there are 7'
expect 3 mutual "$tmp/maps/nothing" --json
expect 5 mutual --data "$tmp/few/none"
expect 3 mutual --data "$scenes/cloth" --category other
expect 4 mutual "$photos" --backbone "$tmp/all.csv"
[ ! -e "$tmp/no" ] || fail "scores in spite of an error"
code=0
mutual "$photos" --memory 5000 >"$tmp/out" 2>"$tmp/err" || code=$?
[ "$code" != 0 ] || fail "--memory has no effect"
one_line 'more than 0\.0 GB'
echo PASS
