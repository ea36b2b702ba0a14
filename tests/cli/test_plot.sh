#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad plot: pages of whole, growing, resumed and hostile logs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_log.sh"
page=$tmp/page.html

page_has() { grep -qF -- "$1" "$page" || fail "the page does not contain: $1"; }
page_lacks() { ! grep -qF -- "$1" "$page" || fail "the page contains: $1"; }
charts() { grep -c '<figure class="card chart">' "$page"; }
json_has() { grep -qE -- "$1" "$tmp/out" || fail "the summary does not match: $1"; }

# --- a whole log: every panel, nothing from elsewhere, no markup left open
{ log_start seed 1; make_log 720 1; log_end; } >"$tmp/a.jsonl"
expect 0 "$cozad" plot "$tmp/a.jsonl" -o "$page"
stdout_has 'page\.html: 1 log, 720 steps'
[ ! -s "$tmp/err" ] || fail "something on stderr"
[ "$(charts)" = 14 ] || fail "$(charts) charts instead of 14"
for text in 'Total loss' 'Detector loss' 'Contrastive' 'Weight decay' 'Support and query' 'Mean weight' 'Doubted patches' \
    'Spread of the losses' 'Regularisation' 'Inner step' 'Support loss drop' 'first-order gradient' 'Gradient norms' \
    'Images a second' '>epoch<' '>step<' '>images/s<' 'metal_nut' '>230<' '720 of 720' '6 min 28 s' 'zero-shot.cozad' \
    'prefers-color-scheme:dark' 'patches-per-image'; do
    page_has "$text"
done
! grep -qiE '(src|href|xlink)=|url\(|@import|https?://' "$page" || fail "the page loads something"
! grep -qE '(NaN|nan|[^a-z]inf)' <(sed 's/<script>.*//' "$page") || fail "a number of the page is none"
if command -v python3 >/dev/null; then
    python3 - "$page" <<'PY' || fail "the page is not well nested"
import html.parser, sys
class Checker(html.parser.HTMLParser):
    stack = []
    def handle_starttag(self, tag, attributes):
        if tag not in ('meta', 'br', 'wbr', 'img'): self.stack.append(tag)
        if tag == 'path':
            d = dict(attributes)['d']
            assert d.startswith('M') and set(d) <= set('Mlhv0123456789- '), d[:80]
    def handle_startendtag(self, tag, attributes): self.handle_starttag(tag, attributes); self.handle_endtag(tag)
    def handle_endtag(self, tag): assert self.stack and self.stack.pop() == tag, (tag, self.getpos())
checker = Checker()
checker.feed(open(sys.argv[1], encoding='utf-8').read())
assert not checker.stack, checker.stack
PY
fi

# --- the summary: last values, medians; what was never measured is null
{ log_start
  for i in 0 1 2 3 4; do
      echo "{\"event\":\"step\",\"epoch\":0,\"step\":$i,\"steps\":5,\"loss\":$((10 - i)).5,\"support_drop\":$([ $i = 3 ] && echo 0.25 || echo null)}"
  done; } >"$tmp/b.jsonl"
expect 0 "$cozad" plot "$tmp/b.jsonl" --json
[ "$(wc -l <"$tmp/out")" = 1 ] || fail "not one line"
json_has '"status":null,.*"steps":5,"last_step":4,"steps_in_all":5,"last_epoch":0,"bad_lines":0,"partial":false'
json_has '"last":\{"loss":6\.5,"loss_ad":null,.*"support_drop":0\.25'
json_has '"median":\{"loss":8\.5,'
json_has '"median_last_tenth":\{"loss":6\.5,.*"support_drop":null'
expect 0 "$cozad" plot "$tmp/b.jsonl" -o "$page"
[ "$(charts)" = 2 ] || fail "charts of what was not measured"
page_has 'Not measured: Detector loss'
page_has 'no end: running'

# --- lines about phases without steps change nothing
sed '1a {"event":"features","done":0,"total":9}' "$tmp/b.jsonl" >"$tmp/e.jsonl"
echo '{"event":"confidence","done":9,"total":9}' >>"$tmp/e.jsonl"
for f in b e; do
    expect 0 "$cozad" plot "$tmp/$f.jsonl" --json
    sed "s,$f[.]jsonl,x.jsonl,g" "$tmp/out" >"$tmp/$f.out"
done
cmp "$tmp/b.out" "$tmp/e.out" || fail "phases in the summary"

# --- several logs: a legend, differences first
{ log_start seed 2 inner-lr 0.01; make_log 500 2 1.5; log_end; } >"$tmp/c.jsonl"
expect 0 "$cozad" plot "$tmp/a.jsonl" "$tmp/c.jsonl" -o "$page"
page_has '<span class="dot b1"></span>c.jsonl</span>'
[ "$(grep -c '<tr class="diff">' "$page")" = 2 ] || fail "not two differing options"
page_has '<tr class="diff"><th scope="row">inner-lr</th><td>–</td><td>0.01</td></tr>'
page_has 'that are the same in all logs'
mkdir "$tmp/d"
cp "$tmp/c.jsonl" "$tmp/d/a.jsonl"
expect 0 "$cozad" plot "$tmp/a.jsonl" "$tmp/d/a.jsonl" -o "$page"
page_has "$tmp/d/a.jsonl</span>" # equal names are told apart by their folders

# --- the page stays small however long the log; nothing is lost of a spike in it
make_log 60000 3 >"$tmp/long.jsonl"
sed -i '30000s/"loss":[^,]*,/"loss":9.25,/' "$tmp/long.jsonl"
expect 0 "$cozad" plot "$tmp/long.jsonl" -o "$page"
[ "$(stat -c %s "$page")" -lt 300000 ] || fail "a page of $(stat -c %s "$page") bytes"
page_has '1 point lies outside, at 9.25'
for i in 1 2 3 4; do make_log 9000 $i >"$tmp/l$i.jsonl"; done
expect 0 "$cozad" plot "$tmp"/l?.jsonl -o "$page"
[ "$(stat -c %s "$page")" -lt 1000000 ] || fail "a page of $(stat -c %s "$page") bytes for four logs"

# --- text from a log is text
json_evil='"</script></style><img src=x onerror=alert(1)>\"'"'"'&"'
{ log_start "x</dt><img onerror=1>" "$json_evil" | sed "s|resnet50_msra|<b onclick=x>net|;s|metal_nut|<svg onload=1>nut|"
  make_log 30 4
  echo '{"event":"end","status":"<i>ok","seconds":1,"model":"<u>m","message":"a<s>b"}'; } >"$tmp/e\"><img onerror=2>.jsonl"
expect 0 "$cozad" plot "$tmp/e\"><img onerror=2>.jsonl" "$tmp/a.jsonl" -o "$page"
page_lacks '<img'
page_lacks '<b onclick'
page_lacks '<svg onload'
page_lacks '<i>ok'
page_lacks '<u>m'
page_lacks '<s>b'
[ "$(grep -o '</script>' "$page" | wc -l)" = 1 ] || fail "a script ends twice"
[ "$(grep -o '</style>' "$page" | wc -l)" = 1 ] || fail "a style sheet ends twice"
page_has '&lt;/script&gt;&lt;/style&gt;&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;'

# --- lines that cannot be used are left out and named once
step() { echo "{\"event\":\"step\",\"epoch\":0,\"step\":$1,\"loss\":${2:-1}}"; }
{ step 0
  echo 'not JSON at all'
  step 1 '"1"'
  step 2 true
  step 3 NaN
  step 4 1e999
  step 5 1e200
  step -1
  step 0.5
  step 9223372036854775808
  step 9007199254740993000
  step '"6"'
  step 0
  echo '[1,2]'
  echo '{"event":7}'
  echo '{"loss":1}'
  echo '{"event":"step","epoch":0,"step":7,"step":8}'
  echo '{"event":"step","step":7}'
  echo '{"event":"start","config":[1]}'
  echo '{"event":"start","categories":[{"images":3}]}'
  echo '{"event":"start","categories":{"a":1}}'
  printf '\0\377\376\n'
  head -c 3000000 /dev/zero | tr '\0' '['; echo
  head -c 100000 /dev/zero | tr '\0' '['; echo
  echo; echo '   '
  echo '{"event":"later kinds are passed over"}'
  step 8 2; } >"$tmp/bad.jsonl"
expect 0 "$cozad" plot "$tmp/bad.jsonl" -o "$page"
one_line 'bad\.jsonl: 23 lines left out; line 2 is not JSON'
stdout_has '2 steps'
page_has '23 lines were left out.'
expect 0 "$cozad" plot "$tmp/bad.jsonl" --json -q
json_has '"steps":2,.*"bad_lines":23,'
[ ! -s "$tmp/err" ] || fail "-q is not quiet"
{ step 0; head -c 1100000 /dev/zero | tr '\0' 'x'; } >"$tmp/tail.jsonl" # too long, and the file ends in it
expect 0 "$cozad" plot "$tmp/tail.jsonl" -o "$page"
one_line 'line 2 is longer than 1 MiB'

# Half a last line is one that is being written; a last line that is whole needs no newline.
{ step 0; step 1; step 2 | head -c 30; } >"$tmp/half.jsonl"
expect 0 "$cozad" plot "$tmp/half.jsonl" --json
[ ! -s "$tmp/err" ] || fail "half a last line is told of"
json_has '"steps":2,.*"bad_lines":0,"partial":true'
{ step 0; printf '%s' "$(step 1)"; } >"$tmp/open.jsonl"
expect 0 "$cozad" plot "$tmp/open.jsonl" --json
json_has '"steps":2,.*"bad_lines":0,"partial":false'

# A resumed training repeats steps: the later ones count.
{ log_start; for i in 0 1 2 3 4 5; do step $i 1; done; log_end; log_start; for i in 3 4 5 6; do step $i 7; done; } >"$tmp/resumed.jsonl"
expect 0 "$cozad" plot "$tmp/resumed.jsonl" --json -o "$page"
json_has '"status":null,.*"steps":7,"last_step":6,.*"restarts":1,.*"median":\{"loss":7\.0'
page_has 'was resumed'

# --- curious values still make a page: one step, constants, zeros and negatives on a logarithmic axis, the largest numbers
{ step 5 3; } >"$tmp/single.jsonl"
expect 0 "$cozad" plot "$tmp/single.jsonl" -o "$page"
for value in 0 -0.0 1e-300 1e100 -1e100 1e-7; do
    for i in 0 9007199254740992; do
        echo "{\"event\":\"step\",\"epoch\":9007199254740992,\"step\":$i,\"loss\":$value,\"gradient_adaptor\":$value}"
    done >"$tmp/v.jsonl"
    expect 0 "$cozad" plot "$tmp/v.jsonl" -o "$page"
    ! grep -qE '(nan|[^a-z]inf)' <(sed 's/<script>.*//' "$page") || fail "a number of the page is none for $value"
done
{ step 0 -1e100; step 1 1e100; step 2 1e-100; } >"$tmp/v.jsonl"
expect 0 "$cozad" plot "$tmp/v.jsonl" -o "$page"

# --- errors: one line, the exit code, an earlier page whole
cp "$page" "$tmp/kept.html"
: >"$tmp/empty.jsonl"
log_start >"$tmp/started.jsonl"
mkfifo "$tmp/pipe"
for name in empty started pipe not-there d; do
    expect 3 timeout 20 "$cozad" plot "$tmp/$name$([ -e "$tmp/$name" ] || [ $name = not-there ] || echo .jsonl)" -o "$page"
    one_line "$name"
done
echo 'no log' >"$tmp/text.jsonl"
expect 3 "$cozad" plot "$tmp/text.jsonl" -o "$page"
one_line 'text\.jsonl: there is no training step in it \(line 1 is not JSON\)'
cmp "$page" "$tmp/kept.html" || fail "a failure touched the page"
expect 3 "$cozad" plot "$tmp/empty.jsonl" "$tmp/a.jsonl" -o "$page" # the other one is drawn
one_line 'empty\.jsonl'
page_has '720 of 720'
cp "$page" "$tmp/kept.html"
expect 2 "$cozad" plot -o "$page"
expect 2 "$cozad" plot "$tmp/a.jsonl"
a=$tmp/a.jsonl
expect 2 "$cozad" plot "$a" "$a" "$a" "$a" "$a" "$a" "$a" "$a" "$a" -o "$page"
one_line 'at most 8'
cp "$a" "$tmp/a.kept"
expect 2 "$cozad" plot "$a" -o "$a"
cmp "$a" "$tmp/a.kept" || fail "a page was written over its log"
expect 5 "$cozad" plot "$a" -o "$tmp/no/such/page.html"
one_line 'page\.html: '
full() { (ulimit -f 8; "$@"); }
expect 5 full "$cozad" plot "$a" -o "$page"
cmp "$page" "$tmp/kept.html" || fail "a full disk damaged the page that was there"
[ -z "$(find "$tmp" -maxdepth 1 -name '*.tmp')" ] || fail "a temporary file was left behind"
expect 5 sh -c "'$cozad' plot '$a' --json >/dev/full"
expect 0 "$cozad" plot --help
stdout_has 'Example'
echo PASS
