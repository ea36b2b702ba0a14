#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad train --source: layouts, categories and their names, what is refused; the layout yesno in eval.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
make_scenes
good=$scenes/cloth/train/good
log=$tmp/log.jsonl
few=("${small[@]}" --epochs 1 --log "$log" -o "$tmp/m.cozad")

# mvtec: two categories and a folder that is none
mkdir -p "$tmp/mv/screw/train/good" "$tmp/mv/nut/train/good" "$tmp/mv/nut/test/bent" "$tmp/mv/notes" "$tmp/mv/.hidden/train/good"
cp "$good"/00[0-2].png "$tmp/mv/screw/train/good"
cp "$good"/00[3-4].png "$tmp/mv/nut/train/good"
cp "$good/005.png" "$tmp/mv/nut/test/bent"
cp "$good/005.png" "$tmp/mv/notes"
# csv: of six rows, two are to be trained on
mkdir "$tmp/tab"
cp "$good"/00[0-5].png "$tmp/tab"
printf 'path,split,label,mask\n000.png,train,0,\n001.png,train,,\n002.png,train,1,\n003.png,test,0,\n004.png,,0,\n005.png,test,1,\n' >"$tmp/tab/split.csv"
# yes and no
mkdir -p "$tmp/scan/yes" "$tmp/scan/no/deeper"
cp "$good"/00[0-1].png "$tmp/scan/no"
cp "$good/002.png" "$tmp/scan/no/deeper"
cp "$scenes"/cloth/test/hole/*.png "$tmp/scan/yes"
# a folder of folders, with a colon in its name
mkdir -p "$tmp/odd:name/a" "$tmp/odd:name/b,c"
cp "$good/003.png" "$tmp/odd:name/a"
cp "$good"/00[4-5].png "$tmp/odd:name/b,c"

# categories SOURCE… -- NAME:IMAGES…: trained with, these are the categories of the log, in order
categories() {
    local sources=() wanted=
    while [ "$1" != -- ]; do sources+=(--source "$1"); shift; done
    shift
    for one in "$@"; do wanted+=",{\"name\":\"${one%:*}\",\"images\":${one##*:}}"; done
    expect 0 "$cozad" train "${sources[@]}" "${few[@]}" --json
    grep -qF "\"categories\":[${wanted#,}]}" "$log" || { head -n 1 "$log" >"$tmp/out"; fail "categories are not ${wanted#,}"; }
    stdout_has "\"categories\":$#,"
}
categories "$tmp/mv:mvtec" -- mv/nut:2 mv/screw:3
categories "$tmp/mv/:mvtec:screw" -- mv/screw:3
categories "$tmp/mv/screw:mvtec" -- screw:3
categories "$tmp/mv:mvtec:screw,nut" "$tmp/tab:csv" "$tmp/scan:yesno" -- mv/screw:3 mv/nut:2 tab:2 scan:3
categories "$tmp/odd\\:name:folder" -- odd:name:3
categories "$tmp/odd\\:name:folder:a,b\\,c" -- odd:name/a:1 odd:name/b,c:2
(cd "$tmp/tab" && cozad=$cozad && categories .:csv -- tab:2)
# names that clash grow until they do not
mkdir -p "$tmp/other/mv/screw/train/good"
cp "$good/005.png" "$tmp/other/mv/screw/train/good"
categories "$tmp/mv:mvtec:screw" "$tmp/other/mv:mvtec:screw" -- mv/screw:3 other/mv/screw:1
# a single category trains as its folder does
expect 0 "$cozad" train --source "$tmp/mv/screw:mvtec" "${small[@]}" --epochs 2 --seed 1 -o "$tmp/a.cozad"
expect 0 "$cozad" train --normal "$tmp/mv/screw/train/good" "${small[@]}" --epochs 2 --seed 1 -o "$tmp/b.cozad"
expect 0 "$cozad" score -m "$tmp/a.cozad" "$good" --csv --no-cache
cp "$tmp/out" "$tmp/first"
expect 0 "$cozad" score -m "$tmp/b.cozad" "$good" --csv --no-cache
cmp "$tmp/out" "$tmp/first" || fail "--source makes another detector than --normal"

# --- the same photo twice is named
categories "$tmp/mv:mvtec" "$tmp/mv/nut:mvtec" -- mv/nut:2 mv/screw:3 nut:2
[ "$(grep -c 'is twice among the sources' "$tmp/err")" = 2 ] || fail "two photos are twice among the sources"
mkdir "$tmp/links"
ln -s "$tmp/mv/nut/train/good/003.png" "$tmp/links/x.png"
categories "$tmp/mv:mvtec:nut" "$tmp/links:folder" -- mv/nut:2 links:1
stderr_has 'nut/train/good/003\.png: is twice among the sources, also as .*links/x\.png'
categories "$tmp/mv:mvtec:screw" "$tmp/mv:mvtec:screw" -- "mv/screw:3" "$(realpath "$tmp" | sed 's|.*/||')/mv/screw:3"

# --- what is wrong with a source is one line
bad() { # CODE SOURCE PATTERN
    expect "$1" "$cozad" train --source "$2" "${few[@]}"
    one_line "$3"
}
bad 2 "$tmp/mv" 'is not ROOT:LAYOUT'
bad 2 "$tmp/mv:" 'empty part'
bad 2 ":mvtec" 'empty part'
bad 2 "$tmp/mv:mvtec:" 'empty part'
bad 2 "$tmp/mv:mvtec:screw,,nut" 'empty part'
bad 2 "$tmp/mv:vista" 'not one of mvtec, folder, csv, yesno'
bad 2 "$tmp/mv:mvtec:screw:nut" "third ':'"
bad 2 "$tmp/mv:mvtec\\" 'backslash'
bad 2 "$tmp/odd:name:folder" 'not one of'
bad 5 "$tmp/none:mvtec" 'none: No such file'
bad 3 "$tmp/mv:mvtec:bolt" 'bolt: is no mvtec category'
bad 3 "$tmp/scan:mvtec" 'scan: is no mvtec category.*nor has a folder of it'
bad 3 "$tmp/mv:csv" 'no file split.csv'
bad 3 "$tmp/mv:yesno" 'no folder no'
bad 3 "$tmp/mv:folder:bolt" 'bolt: is no folder'
mkdir -p "$tmp/empty/train/good"
bad 3 "$tmp/empty:mvtec" 'no normal photos'
printf 'path,split,label\n000.png,train,defect\n' >"$tmp/mv/split.csv"
bad 3 "$tmp/mv:csv" 'neither 0 nor 1'
printf 'path,split,label\n../tab/000.png,train,0\n' >"$tmp/mv/split.csv"
bad 3 "$tmp/mv:csv" 'leaves its folder'
rm "$tmp/mv/split.csv"
expect 2 "$cozad" train --source "$tmp/mv:mvtec" --normal "$good" "${few[@]}"
one_line 'cannot be mixed'
expect 2 "$cozad" train --source "$tmp/mv:mvtec" --data "$tmp/mv/screw" "${few[@]}"
one_line 'cannot be mixed'

# --- eval on yes and no: all are test photos, no masks; found by the folders' names
for layout in auto yesno; do
    expect 0 "$cozad" eval -m "$tmp/a.cozad" --data "$tmp/scan" --layout $layout --json
    stdout_has '"pixel_auroc":null.*"normal":3,"anomalous":[1-9].*"without_mask":[1-9]'
done
expect 3 "$cozad" train --data "$tmp/scan" "${few[@]}"
one_line 'source ROOT:yesno'
echo PASS
