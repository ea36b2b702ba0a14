#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The page of cozad eval in a real browser: no error, all pictures load, its numbers are those of --json, nothing is wider
# than the window, dark and light, and it prints.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || skip "report page (no chromium)"
export OMP_WAIT_POLICY=passive
page=$tmp/page.html
script=$(dirname "$0")/report_check.js

# browse FILE [options]: the document after loading on stdout, console lines in $tmp/console
browse() {
    local file=$1
    shift
    timeout 120 "$browser" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
        --user-data-dir="$tmp/profile" --enable-logging=stderr --v=0 "$@" "file://$file" 2>"$tmp/log" ||
        fail "the browser ended with an error: $(tail -n 3 "$tmp/log")"
    grep ':CONSOLE' "$tmp/log" >"$tmp/console" || true
}

# check NAME WIDTH [options]: the page with the check inside, in a frame that wide; what it says is in $tmp/said
check() {
    local name=$1 width=$2
    shift 2
    { echo "<script>var truth ="; sed 's|</|<\\/|g' "$tmp/truth.json"; echo ";"; cat "$script"; echo "</script>"; } >"$tmp/inside"
    awk -v inside="$tmp/inside" '{ print } /^<head>$/ { while ((getline line < inside) > 0) print line }' "$name" >"$tmp/checked.html"
    cat >"$tmp/frame.html" <<HTML
<!DOCTYPE html><meta charset="utf-8"><body style="margin:0"><pre id="said">nothing</pre>
<script>onmessage = function (e) { document.getElementById('said').textContent = 'said: ' + e.data; };</script>
<iframe src="checked.html" style="border:0;width:${width}px;height:900px"></iframe>
HTML
    browse "$tmp/frame.html" --window-size=1300,1000 --virtual-time-budget=20000 --dump-dom "$@" >"$tmp/dom"
    grep -oE 'said: (dark|light) [^<]*' "$tmp/dom" >"$tmp/said" || fail "the check did not end: $(cat "$tmp/console")"
}
well() { # SCHEME WIDTH
    grep -qE "^said: $1 at $2, [0-9]+ pictures: all well$" "$tmp/said" || fail "$(cat "$tmp/said")"
    [ ! -s "$tmp/console" ] || fail "on the console: $(cat "$tmp/console")"
}

# Two categories, one without a defect, and one whose name is markup; nothing of it may reach the page as such.
scenes=$tmp/scenes
evil='x"><img src=x onerror=boom()>&'
"$cozad" synth "$scenes" --scenes cloth,caps --normal 8 --test-good 6 --test-bad 6 --size 96 --seed 5 >/dev/null
cp -r "$scenes/caps" "$scenes/plain"
find "$scenes/plain/test" -mindepth 1 -maxdepth 1 ! -name good -exec rm -r {} +
rm -r "$scenes/plain/ground_truth"
cp -r "$scenes/caps" "$scenes/$evil"
expect 0 "$cozad" train --normal "$scenes/cloth/train/good" --backbone random:resnet18:1 --image-size 64 --feature-width 96 \
    --hidden-width 64 --patches-per-image 16 --threads 1 --epochs 2 --seed 1 -o "$tmp/m.cozad"
expect 0 "$cozad" eval -m "$tmp/m.cozad" --data "$scenes" --layout mvtec --resamples 50 --json --report "$page"
cp "$tmp/out" "$tmp/truth.json"
grep -q '"plain":{"image_auroc":null' "$tmp/truth.json" || fail "a category without defects has a figure"
! grep -qiE '(src|href)="(https?:|//)|@import|url\(' "$page" || fail "the page needs the network"
[ "$(stat -c %s "$page")" -lt 3000000 ] || fail "a page of $(stat -c %s "$page") bytes"

check "$page" 1200
well light 1200
check "$page" 400 --blink-settings=preferredColorScheme=0
well dark 400

# With a threshold of the model's own: what it does, and regions.
expect 0 "$cozad" calibrate -m "$tmp/m.cozad" --normal "$scenes/caps/train/good" --rule iqr -o "$tmp/c.cozad"
expect 0 "$cozad" eval -m "$tmp/c.cozad" --data "$scenes" --layout mvtec --resamples 0 --json --report "$tmp/calibrated.html"
cp "$tmp/out" "$tmp/truth.json"
grep -q '"at_threshold":{"threshold"' "$tmp/truth.json" || fail "no threshold after calibration"
grep -q 'id="region-table"' "$tmp/calibrated.html" || fail "no regions"
check "$tmp/calibrated.html" 400
well light 400

# The check finds what it is there for.
expect 0 "$cozad" eval -m "$tmp/m.cozad" --data "$scenes" --layout mvtec --resamples 50 --json
cp "$tmp/out" "$tmp/truth.json"
sed '0,/base64,\/9j\//s//base64,AAAA/' "$page" >"$tmp/broken.html"
check "$tmp/broken.html" 1200
grep -q 'picture [0-9]* did not load' "$tmp/said" || fail "a broken picture is not seen: $(cat "$tmp/said")"
sed '0,/<b>[0-9.]*<\/b><small>/s//<b>12.3<\/b><small>/' "$page" >"$tmp/broken.html"
check "$tmp/broken.html" 1200
grep -q 'shows 12.3' "$tmp/said" || fail "a wrong number is not seen: $(cat "$tmp/said")"
sed 's|<main>|&<script src="http://localhost/x.js"></script>|' "$page" >"$tmp/broken.html"
check "$tmp/broken.html" 1200
grep -q 'policy: http' "$tmp/said" || fail "a script from elsewhere is not seen: $(cat "$tmp/said")"
[ -s "$tmp/console" ] || fail "nothing on the console about a script from elsewhere"

# The page of cozad score has no labels, and a threshold when there is a gate.
expect 1 "$cozad" score -m "$tmp/m.cozad" "$scenes/cloth/test" --report "$tmp/score.html" --gate -1000
browse "$tmp/score.html" --dump-dom >"$tmp/dom"
[ ! -s "$tmp/console" ] || fail "on the console: $(cat "$tmp/console")"
[ "$(grep -o '<img ' "$tmp/dom" | wc -l)" = 24 ] || fail "not two pictures of each photo"
! grep -q 'id="summary"' "$tmp/dom" || fail "a summary without labels"

browse "$page" --no-pdf-header-footer --print-to-pdf="$tmp/page.pdf"
[ "$(head -c 5 "$tmp/page.pdf")" = '%PDF-' ] || fail "no PDF"
[ "$(stat -c %s "$tmp/page.pdf")" -gt 20000 ] || fail "an empty PDF"
echo PASS
