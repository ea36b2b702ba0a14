#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad inspect: injected photos are trusted least, tables and lists round-trip through train --exclude and persist, hostile lists and
# names, the page; calibrate --unlabelled.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
export OMP_WAIT_POLICY=passive
look() { "$cozad" inspect "$@"; }
net=(--backbone random:resnet18:1 --image-size 96 --feature-width 96 --hidden-width 64 --patches-per-image 32 --threads 1 --seed 1)
train() { "$cozad" train --method cozad "${net[@]}" --quantise 0 "$@"; }

# one photo in ten shows another part, one name is markup
"$cozad" synth "$tmp/s" --scenes metal,caps --normal 36 --test-good 1 --test-bad 1 --size 96 --seed 5 >/dev/null
mix=$tmp/mix
evil='x"><img src=x onerror=boom()>&,'\''.png'
mkdir "$mix"
cp "$tmp/s/metal/train/good/"*.png "$mix"
for i in 0 1 2; do cp "$tmp/s/caps/train/good/00$i.png" "$mix/bad$i.png"; done
cp "$tmp/s/caps/train/good/003.png" "$mix/bad3-$evil"
expect 0 train --normal "$mix" --epochs 40 -o "$tmp/a.cozad"
stdout_has 'learnt from 40 photos in'

expect 0 look -m "$tmp/a.cozad"
stdout_has '^40 photos; about [0-9.]+ % stand apart from the others; [0-9]+ suspects?$'
stdout_has '^and 20 more \(--top 40\)$'
expect 0 look -m "$tmp/a.cozad" --csv
cp "$tmp/out" "$tmp/all.csv"
[ "$(wc -l <"$tmp/out")" = 41 ] || fail "not 40 photos"
stdout_has '^path,decision,weight,score,share_below_one,sha256$'
found=$(sed -n '2,9p' "$tmp/out" | grep -c '/bad[0-3]') || true
[ "$found" -ge 3 ] || fail "only $found of 4 injected photos are among the 8 trusted least"
grep -v '/bad3' "$tmp/out" | awk -F, 'NR > 1 { if ($3 + 0 < last || $3 > 1 || $3 <= 0 || length($6) != 64) exit 1; last = $3 + 0 }' ||
    fail "not sorted by trust, or not a table"
grep -q '"[^"]*bad3-x"">.*,'\''\.png",' "$tmp/out" || fail "the odd name is not quoted"
expect 0 look -m "$tmp/a.cozad" --json --top 3
[ "$(wc -l <"$tmp/out")" = 3 ] || fail "--top is ignored"
stdout_has '^\{"path":".*","pixels_sha256":"[0-9a-f]{64}","decision":"(keep|exclude)","weight":[0-9.]+,"share_below_one":[0-9.e-]+,"score":-?[0-9.]+,"suspect":(true|false),"excluded":false,"place":\[0?\.[0-9]+,0?\.[0-9]+\]\}$'
expect 0 look -m "$tmp/a.cozad" --top 5
[ "$(wc -l <"$tmp/out")" = 8 ] || fail "--top 5 shows something else"
expect 0 "$cozad" info "$tmp/a.cozad"
stdout_has '^photos +40 entries$'
stdout_has '^confidence\.contamination +0'

# lists: what is doubted by hand, clean and suspects are each other's rest
expect 0 look -m "$tmp/a.cozad" --distrust 0.7 --export-clean "$tmp/clean.txt" --export-suspects "$tmp/suspects.csv"
doubted=$(($(wc -l <"$tmp/suspects.csv") - 1))
[ "$doubted" -ge 1 ] && [ $((doubted + $(wc -l <"$tmp/clean.txt"))) = 40 ] || fail "clean and suspects are not all"
while read -r path; do [ -f "$path" ] || fail "$path is in the clean list"; done <"$tmp/clean.txt"
grep -c ',exclude,' "$tmp/suspects.csv" | grep -qx "$doubted" || fail "suspects are not to be excluded"

# a table decides; the model remembers, also after photos have been moved
{
    head -n 1 "$tmp/all.csv"
    grep '/bad[0-3]' "$tmp/all.csv" | sed 's/,keep,/,exclude,/'
    grep -v '/bad[0-3]' "$tmp/all.csv" | sed '1d; s/,exclude,/,keep,/'
} >"$tmp/decisions.csv"
[ "$(wc -l <"$tmp/decisions.csv")" = 41 ] || fail "a line is lost"
expect 0 train --normal "$mix" --epochs 2 --exclude "$tmp/decisions.csv" -o "$tmp/b.cozad"
stdout_has 'learnt from 36 photos \(4 left out\)'
stderr_has '4 photos are left out as decided earlier \(4 decisions to leave out\)'
expect 0 look -m "$tmp/b.cozad"
stdout_has '^36 photos, 4 left out by earlier decisions;'
! grep -q '/bad[0-3]' "$tmp/out" || fail "an excluded photo was trained on"
cp -r "$mix" "$tmp/moved"
mv "$tmp/moved/bad1.png" "$tmp/moved/good1.png"
rm "$tmp/moved/bad2.png"
expect 0 train --normal "$tmp/moved" --epochs 2 --exclude "$tmp/b.cozad" --json -o "$tmp/c.cozad"
stdout_has '"images":36,.*"excluded":3'
expect 0 look -m "$tmp/c.cozad" --csv
[ "$(grep -c ',exclude,,,,' "$tmp/out")" = 4 ] || fail "decisions are lost when their photo is not there"
# the same as without them from the start, but for what the model says of them
mkdir "$tmp/pure"
cp "$mix"/0*.png "$tmp/pure"
expect 0 train --normal "$tmp/pure" --epochs 2 -o "$tmp/pure.cozad"
scores() { "$cozad" score -m "$1" "$mix" --threads 1 --csv | cut -d, -f2; }
[ "$(scores "$tmp/b.cozad")" = "$(scores "$tmp/pure.cozad")" ] || fail "leaving out is not the same as not having"
# a later word wins
sha=$(sha=$(grep '/bad1' "$tmp/all.csv"); echo "${sha##*,}")
printf 'sha256,decision\r\n%s,keep\r\n' "$sha" >"$tmp/back.csv"
expect 0 train --normal "$mix" --epochs 2 --exclude "$tmp/b.cozad" --exclude "$tmp/back.csv" -o "$tmp/d.cozad"
stdout_has 'learnt from 37 photos \(3 left out\)'
# a plain list: paths as they were given, by another way, and hashes
printf '%s\n\n%s\n%s' "$mix/bad0.png" "$mix/../mix/bad2.png" "$sha" >"$tmp/list.txt"
expect 0 train --normal "$mix" --epochs 2 --exclude "$tmp/list.txt" -o "$tmp/e.cozad"
stdout_has 'learnt from 37 photos \(3 left out\)'
# exclude everything
expect 3 train --normal "$mix" --epochs 2 --exclude "$tmp/all.csv" --exclude <(sed 's/,keep,/,exclude,/' "$tmp/all.csv") -o "$tmp/no.cozad"
stderr_has 'all 40 photos are left out'

# lists that are not
bad() { # PATTERN TEXT: such a list is refused with one line
    printf "$2" >"$tmp/bad.csv"
    expect 2 train --normal "$mix" --epochs 1 --exclude "$tmp/bad.csv" -o "$tmp/no.cozad"
    one_line "$1"
}
bad 'bad\.csv:2: a decision is "keep" or "exclude", not: "maybe"' 'path,decision\n%%s,maybe\n'
bad 'bad\.csv:3: 1 columns where the first line has 2' "path,decision\n$mix/bad0.png,keep\nbad\n"
bad 'bad\.csv:2: not a SHA-256' 'sha256\n0123\n'
bad 'bad\.csv:2: neither a path nor a SHA-256' 'path,sha256\n,\n'
bad 'bad\.csv:2: a quote that does not end' 'path,sha256\n"abc\n'
bad 'bad\.csv:2: text behind a closing quote' 'path,sha256\n"abc"d,\n'
bad 'bad\.csv:1: not a text file' 'a\0b\n'
bad 'bad\.csv:2: "nowhere\.png" is not one of the photos' "$mix/bad0.png\nnowhere.png\n"
expect 2 train --normal "$mix" --exclude "$tmp/missing.csv" -o "$tmp/no.cozad"
one_line 'missing\.csv: cannot read'
expect 2 train --normal "$mix" --exclude "$mix" -o "$tmp/no.cozad"
one_line 'is a folder'
head -c 3000 "$tmp/a.cozad" >"$tmp/cut.cozad"
expect 4 train --normal "$mix" --exclude "$tmp/cut.cozad" -o "$tmp/no.cozad"
awk 'BEGIN { printf "path"; for (i = 0; i < 40; i++) printf ",x"; print "" }' >"$tmp/bad.csv"
expect 2 train --normal "$mix" --exclude "$tmp/bad.csv" -o "$tmp/no.cozad"
[ ! -e "$tmp/no.cozad" ] || fail "a refused training wrote a model"
: >"$tmp/empty.csv"
expect 0 train --normal "$mix" --epochs 1 --exclude "$tmp/empty.csv" -o "$tmp/f.cozad"
stdout_has 'learnt from 40 photos in'

# the page: whole, nothing from elsewhere, names as text
expect 0 look -m "$tmp/a.cozad" --report "$tmp/page.html" --top 12 --threads 1
page=$tmp/page.html
[ "$(grep -c '<figure class="card' "$page")" = 12 ] || fail "not 12 cards"
[ "$(grep -o 'src="data:image/jpeg;base64,/9j/' "$page" | wc -l)" = 24 ] || fail "not 24 pictures"
! grep -qE '(src|href)="(https?:|//)|@import|url\(' "$page" || fail "the page needs the network"
! grep -q '<img src=x' "$page" || fail "a name became markup"
grep -q '&lt;img src=x onerror=boom()&gt;&amp;,&#39;' "$page" || fail "the odd name is not shown"
grep -q 'Random weights' "$page" || fail "random weights are not told of"
expect 0 look -m "$tmp/b.cozad" --report "$tmp/left.html" --top 3 --threads 1
grep -q 'Left out by earlier decisions' "$tmp/left.html" || fail "earlier decisions are not shown"
# photos that have gone, and found again by their pixels
mv "$mix" "$tmp/elsewhere"
expect 0 look -m "$tmp/a.cozad" --report "$tmp/gone.html" --top 4 --threads 1
stderr_has '4 of 4 photos are not where they were'
[ "$(grep -c 'The photo was not found' "$tmp/gone.html")" = 4 ] || fail "missing photos are not told of"
expect 0 look -m "$tmp/a.cozad" --report "$tmp/again.html" --photos "$tmp/elsewhere" --top 4 --threads 1
! grep -q 'was not found' "$tmp/again.html" || fail "not found by their pixels"
grep -q 'now: ' "$tmp/again.html" || fail "does not say where"
# another picture under the name is not the photo; nor is what is no file
mkdir "$mix"
first=$mix/bad1.png
cp "$tmp/elsewhere/bad1.png" "$first"
expect 0 look -m "$tmp/a.cozad" --report "$tmp/gone.html" --threads 1
stderr_has '39 of 40 photos are not where they were'
cp "$tmp/s/caps/train/good/020.png" "$first"
expect 0 look -m "$tmp/a.cozad" --report "$tmp/gone.html" --threads 1
stderr_has '40 of 40 photos are not where they were'
rm "$first"
mkfifo "$first"
expect 0 timeout 60 "$cozad" inspect -m "$tmp/a.cozad" --report "$tmp/gone.html" --threads 1
stderr_has '40 of 40 photos are not where they were'

# refusals
expect 2 look
one_line 'needs -m MODEL'
expect 2 look -m "$tmp/a.cozad" photos
expect 2 look -m "$tmp/a.cozad" --json --csv
expect 2 look -m "$tmp/a.cozad" --distrust 2
expect 4 look -m "$tmp/all.csv"
expect 4 look -m "$root/tests/unit/files/model-v1.cozad"
one_line 'does not know how far it trusts its photos'
expect 5 look -m "$tmp/a.cozad" --export-clean "$tmp/nowhere/x.txt"

# a threshold from photos that nobody has sorted
held=$tmp/held
"$cozad" synth "$tmp/h" --scenes metal --normal 40 --test-good 1 --test-bad 1 --size 96 --seed 77 >/dev/null
cp -r "$tmp/h/metal/train/good" "$held"
cp "$tmp/s/caps/train/good/014.png" "$held/bad.png"
cal() { "$cozad" calibrate -m "$tmp/pure.cozad" --threads 1 "$@"; }
n=$(find "$held" -name '*.png' | wc -l)
expect 0 cal --unlabelled "$held" --contamination 0.1 --fpr 0.1 -o "$tmp/u.cozad"
stdout_has "at most [0-9.]+ % false alarms with 95 % confidence if at most 10 % of the $n unlabelled photos show a defect, at most 10 % if those score highest\$"
stdout_has '[0-9]+ of the [0-9]+ photos score above it, 4 of them set aside'
expect 0 "$cozad" info "$tmp/u.cozad"
stdout_has '^calibration\.contamination +0\.1$'
stdout_has '^calibration\.promise_if_separated +0\.0[0-9]+$'
stdout_has '^calibration\.promise +0\.[1-9][0-9]+$'
expect 0 cal --unlabelled "$held" --contamination 0.1 --fpr 0.1 --json -o "$tmp/u.cozad"
stdout_has '"contamination":0\.1,"discounted":4,"promise_if_separated":0\.0'
expect 0 cal --unlabelled "$held" --contamination 0.1 -o "$tmp/u1.cozad"
stderr_has 'at most 1 % with 95 % confidence needs 33[0-9] images'
expect 2 cal --unlabelled "$held" --contamination 0.1 --strict -o "$tmp/no.cozad"
expect 0 "$cozad" score -m "$tmp/u.cozad" "$held/bad.png" --threads 1 --report "$tmp/score.html"
grep -q 'unlabelled photos show a defect' "$tmp/score.html" || fail "the page does not state the promise"
expect 2 cal --unlabelled "$held" -o "$tmp/no.cozad"
one_line 'needs --contamination'
expect 2 cal --normal "$held" --contamination 0.1 -o "$tmp/no.cozad"
one_line 'is for photos given with --unlabelled'
expect 2 cal --normal "$held" --unlabelled "$held" --contamination 0.1 -o "$tmp/no.cozad"
expect 2 cal --unlabelled "$held" --contamination 0.7 -o "$tmp/no.cozad"
expect 2 cal --unlabelled "$held" --contamination 0.1 --rule iqr -o "$tmp/no.cozad"

# in a browser: ticks become lines
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || { echo "PASS (no chromium)"; exit 0; }
cat >"$tmp/tick.js" <<'JS'
window.addEventListener('error', function (e) { document.title = 'error ' + e.message; });
window.addEventListener('securitypolicyviolation', function (e) { document.title = 'policy ' + e.blockedURI; });
window.addEventListener('load', function () {
    var boxes = document.querySelectorAll('.pick input'), odd = null, wrong = '';
    boxes.forEach(function (b) { if (b.dataset.path.indexOf('onerror') >= 0) odd = b; });
    boxes[1].click();
    if (odd && odd !== boxes[1]) odd.click();
    document.querySelectorAll('img').forEach(function (i) { if (!i.naturalWidth || !i.alt) wrong += ' picture'; });
    document.querySelectorAll('nav a').forEach(function (a) { if (!document.querySelector(a.getAttribute('href'))) wrong += ' link'; });
    if (document.documentElement.scrollWidth > window.innerWidth) wrong += ' wide';
    if (boxes[0].closest('.pick').hidden || document.getElementById('save').href.indexOf('blob:') !== 0) wrong += ' hidden';
    var said = document.createElement('pre');
    said.id = 'said';
    said.textContent = 'said:' + wrong + ';' + document.getElementById('lines').value + ';end';
    document.body.appendChild(said);
});
JS
awk -v inside="$tmp/tick.js" '{ print } /^<head>$/ { print "<script>"; while ((getline line < inside) > 0) print line; print "</script>" }' "$page" >"$tmp/ticked.html"
for width in 1200 400; do
    timeout 120 "$browser" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
        --user-data-dir="$tmp/profile" --window-size=$width,900 --virtual-time-budget=10000 --dump-dom \
        "file://$tmp/ticked.html" >"$tmp/dom" 2>"$tmp/log" || fail "the browser ended with an error"
    grep -q '<title>Which photos' "$tmp/dom" || fail "$(grep -o '<title>.*' "$tmp/dom" | head -n 1)"
    grep -q 'said:;path,decision,sha256$' "$tmp/dom" || fail "at $width: $(grep -o 'said:.*' "$tmp/dom" | head -n 3)"
    sed -n '/said:;/,/;end/p' "$tmp/dom" | sed '1d; /;end/d' | sed 's/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g' >"$tmp/rows"
    [ "$(grep -cE ',exclude,[0-9a-f]{64}$' "$tmp/rows")" -ge 1 ] || fail "no lines: $(cat "$tmp/rows")"
done
{ echo path,decision,sha256; cat "$tmp/rows"; } >"$tmp/from-page.csv"
expect 0 train --normal "$tmp/elsewhere" --epochs 1 --exclude "$tmp/from-page.csv" -o "$tmp/g.cozad"
stderr_has "$(wc -l <"$tmp/rows") photos? (is|are) left out"
echo PASS
