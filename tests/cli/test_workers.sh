#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Several workers: the same output as one, in the same order, whatever they write beside it; failures, ^C, full disks.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
make_scenes
all=$scenes/cloth/test
expect 0 train_small "$tmp/a.cozad"
score=("$cozad" score -m "$tmp/a.cozad" --no-cache --threads 1)

# the same lines, maps, overlays and page
for workers in 1 2 5; do
    expect 0 "${score[@]}" "$all" --json --workers $workers
    cp "$tmp/out" "$tmp/lines.$workers"
    expect 0 "${score[@]}" "$all" --maps "$tmp/maps.$workers" --overlay --report "$tmp/page.html" --workers $workers
    mv "$tmp/page.html" "$tmp/page.$workers"
done
[ "$(wc -l <"$tmp/lines.1")" = 7 ] || fail "not 7 lines"
for workers in 2 5; do
    cmp "$tmp/lines.1" "$tmp/lines.$workers" || fail "$workers workers, other lines"
    diff -r "$tmp/maps.1" "$tmp/maps.$workers" || fail "$workers workers, other pictures"
    cmp "$tmp/page.1" "$tmp/page.$workers" || fail "$workers workers, another page"
done
[ "$(find "$tmp/maps.5" -name '*.png' | wc -l)" = 14 ] || fail "not a map and an overlay for each photo"
expect 0 "${score[@]}" "$all" --json --workers 3 --batch 2
[ "$(grep -o '"path":"[^"]*"' "$tmp/out")" = "$(grep -o '"path":"[^"]*"' "$tmp/lines.1")" ] || fail "batches change the order"
expect 2 "${score[@]}" "$all" --workers 5000
one_line 'workers'

# what cannot be read keeps its place
mkdir "$tmp/mixed"
i=0
for photo in "$all"/good/*.png "$all"/hole/*.png; do
    cp "$photo" "$tmp/mixed/${i}a.png"
    printf 'no picture' >"$tmp/mixed/$((i + 1))b.png"
    i=$((i + 2))
done
expect 3 "${score[@]}" "$tmp/mixed" --json --workers 3
[ "$(wc -l <"$tmp/out")" = 8 ] || fail "8 files, other lines"
[ "$(grep -o '/[0-9][ab]\.png"' "$tmp/out" | tr -d '\n')" = '/0a.png"/1b.png"/2a.png"/3b.png"/4a.png"/5b.png"/6a.png"/7b.png"' ] || fail "the order is lost"
[ "$(grep -c '"error"' "$tmp/out")" = 4 ] || fail "not 4 failures"
[ "$(wc -l <"$tmp/err")" = 4 ] || fail "not 4 messages"

# a folder that cannot be written ends it, after one message
: >"$tmp/file"
expect 5 "${score[@]}" "$all" --maps "$tmp/file/maps" --workers 3
one_line 'file/maps'

# eval: figures, saved scores and maps
for workers in 1 3; do
    expect 0 "$cozad" eval -m "$tmp/a.cozad" --data "$scenes/cloth" --json --no-cache --threads 1 --workers $workers \
        --save-scores "$tmp/scores" --save-maps "$tmp/eval.maps.$workers" --overlays "$tmp/eval.overlays.$workers"
    mv "$tmp/out" "$tmp/figures.$workers"
    sed 1d "$tmp/scores" >"$tmp/scores.$workers"
done
cmp "$tmp/figures.1" "$tmp/figures.3" || fail "3 workers, other figures"
cmp "$tmp/scores.1" "$tmp/scores.3" || fail "3 workers, other scores"
diff -r "$tmp/eval.maps.1" "$tmp/eval.maps.3" || fail "3 workers, other maps"
diff -r "$tmp/eval.overlays.1" "$tmp/eval.overlays.3" || fail "3 workers, other overlays"

# ^C: what is finished has been printed, and the last line is whole
mkdir "$tmp/many"
for ((i = 1000; i < 2500; i++)); do ln "$all/good/000.png" "$tmp/many/$i.png"; done
"${score[@]}" "$tmp/many" --json --workers 3 >"$tmp/out" 2>"$tmp/err" </dev/null &
child=$!
for ((i = 0; i < 600; i++)); do
    if [ -s "$tmp/out" ]; then break; fi
    sleep 0.05
done
kill -INT $child
code=0
wait $child || code=$?
[ $code = 130 ] || fail "exit code $code after an interrupt"
one_line 'interrupted after [0-9]+ of 1500 photos'
told=$(grep -oE 'after [0-9]+' "$tmp/err" | cut -d' ' -f2)
[ "$(wc -l <"$tmp/out")" = "$told" ] || fail "$told photos done, other lines"
[ "$(tail -c 2 "$tmp/out" | head -c 1)" = '}' ] || fail "the last line is cut"
echo PASS
