#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that goes wrong at two in the morning: one clear line, the documented exit code, earlier files whole.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
make_scenes
good=$scenes/cloth/train/good
train_small "$tmp/a.cozad" >/dev/null
cp "$tmp/a.cozad" "$tmp/kept.cozad"

# --- pictures: each alone gives exit code 3 and one line that names it
mkdir "$tmp/bad"
: >"$tmp/bad/empty.png"
echo 'this is text' >"$tmp/bad/text.png"
head -c 2000 "$good/000.png" >"$tmp/bad/short.png"
for name in empty text short; do
    expect 3 "$cozad" score -m "$tmp/a.cozad" "$tmp/bad/$name.png"
    one_line "$name\.png: "
done
# A 1x1 picture is small but a picture.
printf 'P5 1 1 255\n\200' >"$tmp/one.pgm"
expect 0 "$cozad" score -m "$tmp/a.cozad" "$tmp/one.pgm"
# A picture that claims 20000x20000 pixels is refused before any is decoded; the limit can be moved.
{ printf 'P5 20000 20000 255\n'; head -c 1000 /dev/zero; } >"$tmp/bad/bomb.pgm"
expect 3 "$cozad" score -m "$tmp/a.cozad" "$tmp/bad/bomb.pgm"
one_line 'bomb\.pgm: .*max-pixels'
expect 3 "$cozad" score -m "$tmp/a.cozad" "$good/000.png" --max-pixels 100
one_line '000\.png: '

# A pipe with nobody at its other end is no photo, and is not waited for.
mkfifo "$tmp/bad/pipe.png"
expect 3 timeout 20 "$cozad" score -m "$tmp/a.cozad" "$tmp/bad/pipe.png"
one_line 'pipe\.png: '
rm "$tmp/bad/pipe.png"

# --- one bad photo among many: the others are scored
mkdir "$tmp/mixed"
cp "$good"/00[0-3].png "$tmp/mixed"
cp "$tmp/bad/text.png" "$tmp/mixed/001b.png"
expect 3 "$cozad" score -m "$tmp/a.cozad" "$tmp/mixed" --json
[ "$(grep -c '"score"' "$tmp/out")" = 4 ] || fail "the bad photo took others along"
[ "$(grep -c '"error"' "$tmp/out")" = 1 ] || fail "the bad photo is not in the results"
expect 3 "$cozad" train --normal "$tmp/mixed" "${small[@]}" --epochs 1 -o "$tmp/mixed.cozad"
stderr_has '001b\.png: .*skipped'
[ -s "$tmp/mixed.cozad" ] || fail "no model because of one bad photo"
expect 3 "$cozad" score -m "$tmp/a.cozad" "$tmp/not-there.png" "$good/000.png"
[ "$(wc -l <"$tmp/out")" = 1 ] || fail "the photo that is there was not scored"

# --- folders
mkdir "$tmp/nothing"
expect 3 "$cozad" score -m "$tmp/a.cozad" "$tmp/nothing"
one_line 'no images'
expect 3 "$cozad" train --normal "$tmp/nothing" "${small[@]}" -o "$tmp/a.cozad"
one_line 'no images'
expect 3 "$cozad" train --normal "$tmp/bad" "${small[@]}" --epochs 1 -o "$tmp/a.cozad"
cmp "$tmp/a.cozad" "$tmp/kept.cozad" || fail "a training that failed touched the model"

# --- models
expect 4 "$cozad" score -m "$tmp/a.cozad" "$good/000.png" --backbone random:resnet18:2
one_line 'was trained with backbone'
expect 4 "$cozad" score -m "$tmp/a.cozad" "$good/000.png" --backbone random:resnet50:1
size=$(stat -c %s "$tmp/a.cozad")
head -c $((size / 2)) "$tmp/a.cozad" >"$tmp/cut.cozad"
{ head -c 40 "$tmp/a.cozad"; head -c 60 /dev/zero; tail -c +101 "$tmp/a.cozad"; } >"$tmp/holed.cozad"
sed 's/1\.0/9.0/' "$tmp/a.cozad" >"$tmp/newer.cozad"
: >"$tmp/empty.cozad"
for name in cut holed newer empty; do
    expect 4 "$cozad" score -m "$tmp/$name.cozad" "$good/000.png"
    one_line "$name\.cozad: "
    expect 4 "$cozad" info "$tmp/$name.cozad"
done
expect 4 "$cozad" info "$tmp/not-there.cozad"
expect 4 "$cozad" score -m "$good/000.png" "$good/000.png"
expect 4 "$cozad" train --normal "$good" --backbone no-such-network -o "$tmp/a.cozad"
one_line 'no-such-network'
expect 4 "$cozad" train --normal "$good" --backbone "$tmp/bad/text.png" -o "$tmp/a.cozad"

# --- usage
expect 2 "$cozad"
expect 2 "$cozad" scare
expect 2 "$cozad" score --no-such-option
expect 2 "$cozad" score -m "$tmp/a.cozad"
expect 2 "$cozad" train --normal "$good" --epochs many -o "$tmp/a.cozad"
one_line 'epochs'
expect 2 "$cozad" train --normal "$good" --fit stretch -o "$tmp/a.cozad"
expect 2 "$cozad" train --normal "$good" "${small[@]}" --roi 1,2,3 -o "$tmp/a.cozad"
expect 2 "$cozad" train --normal "$good" "${small[@]}" --image-size 7 -o "$tmp/a.cozad"
for verb in train score eval features info weights cache bench synth; do
    expect 0 "$cozad" $verb --help
    stdout_has 'Example'
done

# --- outputs that cannot be written
expect 5 "$cozad" train --normal "$good" "${small[@]}" -o "$tmp/no/such/folder/a.cozad"
one_line 'a\.cozad: '
expect 5 "$cozad" train --normal "$good" "${small[@]}" -o "$tmp/bad"
expect 5 "$cozad" score -m "$tmp/a.cozad" "$good/000.png" --maps /proc/nowhere
expect 5 "$cozad" score -m "$tmp/a.cozad" "$good/000.png" --report "$tmp/no/such/page.html"

# --- a full disk: every file may have 8 kB and no more
full() { (ulimit -f 8; "$@"); }
expect 5 full "$cozad" train --normal "$good" "${small[@]}" --epochs 1 --no-cache -o "$tmp/a.cozad"
cmp "$tmp/a.cozad" "$tmp/kept.cozad" || fail "a full disk damaged the model that was there"
[ -z "$(find "$tmp" -maxdepth 1 -name '*.tmp')" ] || fail "a temporary file was left behind"
# The feature store is a convenience: when it cannot be written, scoring goes on.
rm -rf "$COZAD_HOME"
expect 0 full "$cozad" score -m "$tmp/a.cozad" "$good/000.png"
expect 5 sh -c "'$cozad' score -m '$tmp/a.cozad' '$good/000.png' >/dev/full"

# --- ^C in training: exit code 130, the earlier model whole, nothing left behind
"$cozad" train --normal "$good" "${small[@]}" --epochs 100000 -o "$tmp/a.cozad" >"$tmp/out" 2>"$tmp/err" &
child=$!
sleep 2
kill -INT $child
code=0
wait $child || code=$?
[ $code = 130 ] || fail "exit code $code after an interrupt"
one_line 'interrupted'
cmp "$tmp/a.cozad" "$tmp/kept.cozad" || fail "an interrupted training touched the model"
[ -z "$(find "$tmp" -maxdepth 1 -name '*.tmp')" ] || fail "a temporary file was left behind"
echo PASS
