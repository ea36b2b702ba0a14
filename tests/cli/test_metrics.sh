#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad metrics: the figures of eval, from what it saved; files that are not what they should be.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
"$cozad" synth "$scenes" --scenes cloth,caps --normal 6 --test-good 3 --test-bad 4 --size 96 --seed 5 >/dev/null
train_small "$tmp/a.cozad" >/dev/null
echo 'no picture' >"$scenes/caps/test/good/bad.png"
eval=("$cozad" eval -m "$tmp/a.cozad" --data "$scenes" --threads 1)
few=(--resamples 50 --seed 3)
scores=$tmp/scores.jsonl

# the same figures, in every way that they can be had
same() { # OPTIONS of both
    rm -rf "$tmp/maps"
    expect 3 "${eval[@]}" --save-scores "$scores" --save-maps "$tmp/maps" --json "${few[@]}" "$@"
    cp "$tmp/out" "$tmp/first"
    expect 3 "$cozad" metrics "$scores" --json "${few[@]}"
    cmp "$tmp/out" "$tmp/first" || fail "not the figures of eval: $*"
}
same
same --at 64
same --at 100
same --threshold 0.1
expect 3 "${eval[@]}" --exact --simplenet-compat --json --resamples 0
cp "$tmp/out" "$tmp/other"
same
expect 3 "$cozad" metrics "$scores" --exact --simplenet-compat --json --resamples 0
cmp "$tmp/out" "$tmp/other" || fail "not the figures of eval: exact, SimpleNet's"
[ "$(wc -l <"$scores")" = 16 ] || fail "not a head and a line a photo"
head -n 1 "$scores" >"$tmp/head"
for pattern in '"event":"scores","version":1' '"model_sha256":"[0-9a-f]{64}"' '"layout":"mvtec"' '"at":"mask"'; do
    grep -qE "$pattern" "$tmp/head" || fail "the head has no $pattern"
done
grep -q '"path":"caps/test/good/000.png","category":"caps","kind":"good","label":0,"score":' "$scores" || fail "no such line"
grep -q '"map":"caps/test/good/000.tiff"' "$scores" || fail "no map named"

# moved maps and data
mv "$tmp/maps" "$tmp/moved"
mv "$scenes" "$tmp/elsewhere"
expect 2 "$cozad" metrics "$scores"
one_line '--maps DIR'
expect 2 "$cozad" metrics "$scores" --maps "$tmp/moved"
one_line '--data ROOT'
expect 3 "$cozad" metrics "$scores" --maps "$tmp/moved" --data "$tmp/elsewhere" --json "${few[@]}"
cmp "$tmp/out" "$tmp/first" || fail "other figures from another place"
stderr_has '1 of 15 unreadable'
expect 3 "$cozad" metrics "$scores" --maps "$tmp/moved" --data "$tmp/elsewhere" "${few[@]}"
stdout_has '^pooled '
expect 3 "$cozad" metrics "$scores" --maps "$tmp/moved" --data "$tmp/elsewhere" --csv --resamples 0
[ "$(wc -l <"$tmp/out")" = 5 ] || fail "not five lines of CSV"
rm "$tmp/moved/caps/test/good/000.tiff"
expect 3 "$cozad" metrics "$scores" --maps "$tmp/moved" --data "$tmp/elsewhere" --json --resamples 0
stderr_has '2 of 15 unreadable'
mv "$tmp/elsewhere" "$scenes"

# without maps: image figures alone
expect 3 "${eval[@]}" --save-scores "$scores" --json "${few[@]}"
expect 3 "$cozad" metrics "$scores" --json "${few[@]}"
stdout_has '"pixel_auroc":null'
expect 2 "$cozad" metrics "$scores" --maps "$tmp/moved"
one_line 'names no maps'

# --- files that are something else
bad() { # PATTERN, the file on stdin
    cat >"$tmp/bad.jsonl"
    expect 3 "$cozad" metrics "$tmp/bad.jsonl"
    one_line "bad.jsonl: .*$1"
}
head='{"event":"scores","version":1,"data":"d","maps":"m"}'
photo='{"path":"a.png","category":"","kind":"","label":1,"score":0.5,"masks":[],"map":null}'
bad 'is empty' </dev/null
bad 'line 1: not the head' <<<"$photo"
bad 'line 1: scores of another version' <<<'{"event":"scores","version":2}'
bad 'line 1: ' <<<'{"event":"scores",'
bad 'line 2: ' < <(printf '%s\n%s\n' "$head" '{"path":"a","path":"b"}')
bad 'line 2: no object' < <(printf '%s\n%s\n' "$head" '[1]')
bad 'line 2: .*path' < <(printf '%s\n%s\n' "$head" '{"label":1,"score":1}')
bad 'line 2: .*label' < <(printf '%s\n%s\n' "$head" '{"path":"a","score":1}')
bad 'line 2: .*label' < <(printf '%s\n%s\n' "$head" '{"path":"a","label":2,"score":1}')
bad 'line 2: .*score' < <(printf '%s\n%s\n' "$head" '{"path":"a","label":1,"score":null}')
bad 'line 2: ' < <(printf '%s\n%s\n' "$head" '{"path":"a","label":1,"score":NaN}')
bad 'line 2: .*map' < <(printf '%s\n%s\n' "$head" '{"path":"a","label":1,"score":1,"map":"../../etc/passwd"}')
bad 'line 2: .*map' < <(printf '%s\n%s\n' "$head" '{"path":"a","label":1,"score":1,"map":"/etc/passwd"}')
bad 'line 2: .*mask' < <(printf '%s\n%s\n' "$head" '{"path":"a","label":1,"score":1,"masks":["a/../../b"]}')
bad 'line 3: the same photo' < <(printf '%s\n%s\n%s\n' "$head" "$photo" "$photo")
bad 'there are no scores' < <(printf '%s\n' "$head")
expect 3 "$cozad" metrics "$tmp/none.jsonl"
one_line 'none.jsonl: '
expect 2 "$cozad" metrics
expect 2 "$cozad" metrics "$scores" --json --csv
# hand-made scores: one pair out of order
{
    echo "$head"
    i=0
    for score in 1 2 3 4; do
        i=$((i + 1))
        echo "{\"path\":\"$i\",\"category\":\"c\",\"kind\":\"\",\"label\":$((i % 2)),\"score\":$score}"
    done
} >"$tmp/hand.jsonl"
expect 0 "$cozad" metrics "$tmp/hand.jsonl" --json --resamples 0
stdout_has '"image_auroc":0\.25,' # anomalous 1 and 3, normal 2 and 4: one of four pairs is in order
echo PASS
