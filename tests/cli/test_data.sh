#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad data check: what it counts and finds; the layouts in train; the outside data where it is.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
make_scenes
cloth=$scenes/cloth
defect=$(cd "$cloth/test" && printf '%s\n' */*.png | grep -v '^good/' | head -n 1)
mask=$cloth/ground_truth/${defect%.png}_mask.png

# found NAME COUNT: the summary's count of a finding
found() { grep -qE "^  $1 +$2\$" "$tmp/out" || fail "not $2 findings $1"; }
lines() { [ "$(grep -c "^$1: " "$tmp/out" || true)" = "$2" ] || fail "not $2 lines of $1"; }

# --- a clean set
expect 0 "$cozad" data check "$cloth"
stdout_has 'layout mvtec'
stdout_has '^cloth +train +[0-9]+ +0 +0 +0$'
stdout_has '^0 findings$'
expect 0 "$cozad" data check "$scenes" --layout mvtec --json
[ "$(wc -l <"$tmp/out")" = 1 ] || fail "a clean set is more than one line of JSON"
stdout_has '"layout":"mvtec".*"categories":\{.*"cloth":\{"train":\{"normal":[1-9]'

# --- one of everything
set=$tmp/set
mkdir -p "$set/train/good" "$set/test/good" "$set/test/hole" "$set/ground_truth/hole"
mapfile -t good < <(ls "$cloth"/train/good/*.png)
cp "${good[0]}" "$set/train/good/0.png"
cp "${good[1]}" "$set/train/good/1.png"
cp "${good[0]}" "$set/train/good/0again.png" # a copy
cp "${good[1]}" "$set/test/good/leak.png"    # a copy in another split
cp "${good[2]}" "$set/test/good/lies.jpg"    # a PNG
head -c 300 "${good[3]}" >"$set/test/good/cut.png"
cp "$cloth/test/$defect" "$set/test/hole/0.png"
cp "$mask" "$set/ground_truth/hole/0_mask.png"
cp "$mask" "$set/ground_truth/hole/9_mask.png" # no picture
cp "${good[4]}" "$set/test/hole/1.png"         # no mask
cp "${good[5]}" "$set/test/hole/2.png"
printf 'P5 2 3 255\n\0\0\0\0\0\0' >"$set/ground_truth/hole/2.pgm" # empty, and of another size
cp "${good[0]}" "$set/test/hole/3.png"                          # a copy in the other split with another label
cp "${good[0]}" "$set/ground_truth/hole/3_mask.png"             # many values
cp "$cloth/test/good/000.png" "$set/test/hole/4.png"
echo nothing >"$set/ground_truth/hole/4_mask.png"
expect 3 "$cozad" data check "$set"
for one in unreadable extension mask_missing mask_stray mask_unreadable mask_size mask_values mask_empty duplicate labels; do
    found $one 1
    lines $one 1
done
found leak 2
stdout_has 'leak: .*/test/good/leak.png: the same bytes as .*/train/good/1.png, in another split'
stdout_has 'mask_size: .*/2.pgm: 2x3, the picture is'
stdout_has 'extension: .*/lies.jpg: the name says JPEG, the bytes are PNG'
stdout_has '^odd mask values \(value:pixels\) [0-9]+:[0-9]+'
stdout_has '^12 findings$'
expect 3 "$cozad" data check "$set" --json
[ "$(wc -l <"$tmp/out")" = 13 ] || fail "not 13 lines of JSON"
stdout_has '"finding":"mask_stray","path":"[^"]*/9_mask.png"'
tail -n 1 "$tmp/out" >"$tmp/last"
grep -q '"unreadable":1.*"odd_mask_values":{"[0-9]' "$tmp/last" || fail "the last line is no summary"
# an unreadable third is told, not fatal; a set of nothing is
printf 'path,label\na.png,0\nb.png,1\n' >"$tmp/gone.csv"
expect 3 "$cozad" data check "$tmp/gone.csv"
found unreadable 2
printf 'path\n' >"$tmp/none.csv"
expect 3 "$cozad" data check "$tmp/none.csv"
stderr_has 'there are no pictures'
# a pipe does not keep it waiting
mkfifo "$tmp/a.png"
expect 3 timeout 60 "$cozad" data check "$tmp/gone.csv"
rm "$tmp/a.png"

# --- labels that only the masks tell: train takes the pictures with empty ones
kolektor=$tmp/k2
mkdir -p "$kolektor/train" "$kolektor/test"
for i in 0 1 2; do
    cp "${good[$i]}" "$kolektor/train/1000$i.png"
    printf 'P5 2 2 255\n\0\0\0\0' >"$kolektor/train/1000${i}_GT.pgm"
done
printf 'P5 2 2 255\n\0\377\0\0' >"$kolektor/train/10002_GT.pgm"
cp "${good[3]}" "$kolektor/test/20000.png"
expect 3 "$cozad" data check "$kolektor" # masks of another size
stdout_has 'layout kolektor2'
stdout_has '^- +train +2 +1 +0 +3$'
stdout_has '^- +test +0 +0 +1 +0$'
expect 0 "$cozad" train --data "$kolektor" "${small[@]}" --epochs 1 --json -o "$tmp/k.cozad"
expect 0 "$cozad" info "$tmp/k.cozad"
stdout_has '\b2\b'
log=$tmp/log.jsonl
expect 0 "$cozad" train --source "$kolektor:kolektor2" "${small[@]}" --epochs 1 --log "$log" -o "$tmp/k.cozad"
grep -qF '"categories":[{"name":"k2","images":2}]' "$log" || fail "not two photos of kolektor2"

# --- categories that a layout has by itself
visa=$tmp/visa
mkdir -p "$visa/split_csv" "$visa/candle/Data/Images/Normal"
cp "${good[0]}" "$visa/candle/Data/Images/Normal/0.JPG"
cp "${good[1]}" "$visa/candle/Data/Images/Normal/1.JPG"
{
    echo 'object,split,label,image,mask'
    echo 'candle,train,normal,candle/Data/Images/Normal/0.JPG,'
    echo 'pcb1,train,normal,candle/Data/Images/Normal/1.JPG,'
} >"$visa/split_csv/1cls.csv"
expect 0 "$cozad" train --source "$visa:visa" "${small[@]}" --epochs 1 --log "$log" -o "$tmp/k.cozad"
grep -qF '"categories":[{"name":"visa/candle","images":1},{"name":"visa/pcb1","images":1}]' "$log" || fail "not VisA's categories"
expect 0 "$cozad" train --source "$visa:visa:pcb1" "${small[@]}" --epochs 1 --log "$log" -o "$tmp/k.cozad"
grep -qF '"categories":[{"name":"visa/pcb1","images":1}]' "$log" || fail "not one of VisA's categories"
expect 3 "$cozad" train --source "$visa:visa:pcb2" "${small[@]}" --epochs 1 -o "$tmp/k.cozad"
one_line 'pcb2: is no visa category'

# --- what is wrong is one line
expect 2 "$cozad" data
expect 2 "$cozad" data chek
one_line 'no verb "chek"'
expect 2 "$cozad" data check
one_line 'one ROOT'
expect 2 "$cozad" data check "$set" --layout mvtex
one_line 'no layout "mvtex"'
for layout in mvtec loco visa btad kolektor kolektor2 rsdd dagm dtd_synthetic headct brainmri br35h viaduct magnetic_tile folder \
    csv jsonl yesno; do
    stderr_has " $layout[,)]"
done
expect 2 "$cozad" train --data "$set" --layout mvtex -o "$tmp/k.cozad"
one_line 'no layout "mvtex"'
expect 5 "$cozad" data check "$tmp/none"
one_line 'none: No such file'
expect 3 "$cozad" data check "$tmp/home"
one_line 'no known layout'
expect 3 "$cozad" data check "$set" --layout btad
one_line 'is not laid out as btad: there is no folder train/ok'
printf 'path\n../x.png\n' >"$tmp/bad.csv"
expect 3 "$cozad" data check "$tmp/bad.csv"
one_line 'bad.csv:2: "../x.png" leaves its folder'
expect 0 "$cozad" data --help
expect 0 "$cozad" data check --help

# --- the outside data
if [ ! -d "$data/data/brainmri" ]; then
    echo "skipped: brainmri (no outside data)"
else
    expect 3 "$cozad" data check "$data/data/brainmri"
    found extension 6
    found duplicate 25
    stdout_has '^31 findings$'
    stdout_has '^- +test +98 +155 +0 +0$'
fi
echo PASS
