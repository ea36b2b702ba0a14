#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job: train, score in all output forms, maps, the feature store, reproducibility.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
make_scenes
good=$scenes/cloth/test/good
all=$scenes/cloth/test

expect 0 train_small "$tmp/a.cozad"
stdout_has 'learnt from 6 photos'
expect 0 train_small "$tmp/b.cozad"
cmp "$tmp/a.cozad" "$tmp/b.cozad" || fail "same seed, different models (the second one with features from the store)"
expect 0 train_small "$tmp/c.cozad" --no-cache
cmp "$tmp/a.cozad" "$tmp/c.cozad" || fail "the feature store changes the model"
expect 0 train_small "$tmp/d.cozad" --seed 2
! cmp -s "$tmp/a.cozad" "$tmp/d.cozad" || fail "another seed, the same model"

expect 0 "$cozad" score -m "$tmp/a.cozad" "$all" --threads 1
lines=$(wc -l <"$tmp/out")
[ "$lines" = 7 ] || fail "7 photos, $lines lines"
expect 0 "$cozad" score -m "$tmp/a.cozad" "$all" --json --threads 1
stdout_has "\"path\":\"$all/good/000.png\",\"score\":-?[0-9.e-]+,\"width\":96,\"height\":96"
stdout_has '"from_cache":true'
sed 's/,"from_cache.*//' "$tmp/out" >"$tmp/first"
expect 0 "$cozad" score -m "$tmp/a.cozad" "$all" --json --no-cache --threads 1 --batch 3
stdout_has '"from_cache":false'
[ "$(wc -l <"$tmp/out")" = 7 ] || fail "batches lose photos"
expect 0 "$cozad" score -m "$tmp/a.cozad" "$all" --json --no-cache --threads 1
sed 's/,"from_cache.*//' "$tmp/out" | cmp - "$tmp/first" || fail "features from the store give other scores"
expect 0 "$cozad" score -m "$tmp/a.cozad" "$good/000.png" --csv
stdout_has '^path,score,width,height,error,p_value,decision,threshold,regions,out_of_range$'

# maps at the photo's own size, with the raw range inside
expect 0 "$cozad" score -m "$tmp/a.cozad" "$all" --maps "$tmp/maps" --overlay --report "$tmp/page.html"
[ -s "$tmp/maps/good/000.png.map.png" ] || fail "no map"
[ -s "$tmp/maps/good/000.png.overlay.png" ] || fail "no overlay"
grep -qa 'cozad:low' "$tmp/maps/good/000.png.map.png" || fail "the map does not tell its range"
grep -q '</html>' "$tmp/page.html" || fail "no page"
if grep -qE '(src|href)="https?:' "$tmp/page.html"; then fail "the page needs the network"; fi
expect 2 "$cozad" score -m "$tmp/a.cozad" "$good/000.png" "$scenes/cloth/train/good/000.png" --maps "$tmp/maps2"
one_line 'two inputs would both write'

# the gate
expect 1 "$cozad" score -m "$tmp/a.cozad" "$good/000.png" --gate -1000
stdout_has 'ANOMALY'
expect 0 "$cozad" score -m "$tmp/a.cozad" "$good/000.png" --gate 1000
printf 'no picture' >"$tmp/bad.png"
expect 3 "$cozad" score -m "$tmp/a.cozad" "$tmp/bad.png" "$good/000.png" --gate 1000

# region, fit and mask are stored at training and can be replaced
expect 0 train_small "$tmp/roi.cozad" --roi 8,8,64,64 --fit letterbox
expect 0 "$cozad" info "$tmp/roi.cozad"
stdout_has '^input.roi.width +64$'
stdout_has '^input.fit +letterbox$'
expect 0 "$cozad" score -m "$tmp/roi.cozad" "$good"
expect 0 "$cozad" score -m "$tmp/roi.cozad" "$good" --roi 0,0,96,96 --fit squash
expect 3 "$cozad" score -m "$tmp/roi.cozad" "$good/000.png" --roi 1000,1000,10,10
one_line 'region'

expect 0 "$cozad" eval -m "$tmp/a.cozad" --data "$scenes/cloth" --json
stdout_has '"image_auroc":[01]\.'
stdout_has '"pixel_auroc":[01]\.'
expect 0 "$cozad" info --json "$tmp/a.cozad"
stdout_has '"format_version":"1\.0"'
expect 0 "$cozad" cache list
stdout_has 'entries, .*, 0 damaged'
expect 0 "$cozad" cache verify
expect 0 "$cozad" cache prune
expect 0 "$cozad" cache list
stdout_has '^0 entries'
expect 0 "$cozad" features "$good/000.png" --backbone random:resnet18:1 --tap layer2,patches --image-size 64 -o "$tmp/f.safetensors"
expect 0 "$cozad" weights inspect "$tmp/f.safetensors"
stdout_has 'patches .*64, *1536'
echo PASS
