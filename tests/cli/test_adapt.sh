#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad adapt: a few photos of a new product, one model or several, refusals.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
make_scenes
"$cozad" synth "$tmp/new" --scenes metal --normal 5 --test-good 1 --test-bad 1 --size 96 --seed 8 >/dev/null
photos=$tmp/new/metal/train/good
zs=$tmp/zs.cozad
adapt_small() { "$cozad" adapt -m "$zs" --normal "$photos" --threads 1 --patches-per-image 16 --inner-lr 0.02 "$@"; }

expect 0 train_small "$zs" --method cozad --seed 3
cp "$zs" "$tmp/kept"
expect 0 adapt_small --steps 5 -o "$tmp/new.cozad"
stdout_has 'new\.cozad: 5 steps at 0\.02 on 5 photos: support loss [0-9.]+ before, [0-9.]+ after'
awk '{ for (i = 1; i < NF; i++) if ($i == "loss") exit !($(i + 3) < $(i + 1)) }' "$tmp/out" || fail "the loss has not dropped"
cmp "$zs" "$tmp/kept" || fail "adapt changed its input model"
cp "$tmp/new.cozad" "$tmp/first"
expect 0 adapt_small --steps 5 -o "$tmp/new.cozad" --no-cache
cmp "$tmp/new.cozad" "$tmp/first" || fail "the feature store changes the result, or it is not repeatable"
expect 0 "$cozad" score -m "$tmp/new.cozad" "$tmp/new/metal/test" --json --threads 1
expect 0 "$cozad" info "$tmp/new.cozad"
stdout_has '^adapted.images +5$'
stdout_has '^training.method +cozad$'

# several numbers: nested choices, one file each; a single number writes the name given
expect 0 adapt_small --steps 2 -k 1,2,4 --seed 9 -o "$tmp/k.cozad" --json
[ "$(wc -l <"$tmp/out")" = 3 ] || fail "not one line a model"
stdout_has '"model":"[^"]*/k\.k4\.cozad","images":4,"failed":0,"steps":2,"inner_lr":0.02,"loss_before":'
[ ! -e "$tmp/k.cozad" ] || fail "-k 1,2,4 wrote k.cozad itself"
expect 0 adapt_small --steps 2 -k 2 --seed 9 -o "$tmp/two.cozad"
cmp "$tmp/two.cozad" "$tmp/k.k2.cozad" || fail "-k 2 differs from the 2 of -k 1,2,4"
hashes() { "$cozad" info --json "$1" | tr -d ' \n' | sed 's/.*"adapted"//' | grep -oE '"[0-9a-f]{64}"' | sort; }
for pair in '1 2' '2 4'; do
    read -r few more <<<"$pair"
    [ "$(hashes "$tmp/k.k$few.cozad" | wc -l)" = "$few" ] || fail "k$few does not know its photos"
    [ -z "$(comm -23 <(hashes "$tmp/k.k$few.cozad") <(hashes "$tmp/k.k$more.cozad"))" ] ||
        fail "the $few photos are not among the $more"
done
cmp "$zs" "$tmp/kept" || fail "adapt changed its input model"

# refusals leave everything as it was
expect 2 adapt_small -o "$zs"
one_line 'is the model to adapt from'
ln "$zs" "$tmp/link.cozad"
expect 2 adapt_small -o "$tmp/link.cozad"
one_line 'is the model to adapt from'
cmp "$zs" "$tmp/kept" || fail "adapt changed its input model"
for numbers in 0 1,1 '1,' ,1 -1 x 1.5 ''; do
    expect 2 adapt_small -k "$numbers" -o "$tmp/no.cozad"
    one_line '-k'
done
expect 2 adapt_small -k 2,6 -o "$tmp/no.cozad"
one_line 'there are 5 photos'
expect 2 adapt_small --inner-lr -1 -o "$tmp/no.cozad"
expect 2 "$cozad" adapt -m "$zs" -o "$tmp/no.cozad"
one_line 'needs -m MODEL, --normal DIR and -o NEW'
expect 4 adapt_small --backbone random:resnet18:2 -o "$tmp/no.cozad"
one_line 'was trained with backbone'
expect 4 "$cozad" adapt -m "$photos/000.png" --normal "$photos" -o "$tmp/no.cozad"
one_line '000.png'
expect 5 adapt_small -o "$tmp/nowhere/no.cozad"
one_line 'nowhere'
mkdir "$tmp/empty"
expect 3 "$cozad" adapt -m "$zs" --normal "$tmp/empty" -o "$tmp/no.cozad"
one_line 'no images'
adapt_small --steps 30 --inner-lr 1e30 -o "$tmp/no.cozad" >"$tmp/out" 2>"$tmp/err" && fail "a rate of 1e30 went well"
one_line 'not finite'
[ ! -e "$tmp/no.cozad" ] || fail "a refused adaptation wrote a model"

# a photo that cannot be read is named and left out
mkdir "$tmp/some"
cp "$photos/000.png" "$photos/001.png" "$tmp/some"
printf 'no picture' >"$tmp/some/bad.png"
expect 3 "$cozad" adapt -m "$zs" --normal "$tmp/some" --threads 1 -o "$tmp/some.cozad"
stderr_has 'bad\.png'
stdout_has 'on 2 photos'

# a model of method simplenet has no objective of its own
expect 0 train_small "$tmp/plain.cozad"
expect 0 "$cozad" adapt -m "$tmp/plain.cozad" --normal "$photos" -k 4 --threads 1 -o "$tmp/plain4.cozad"
stderr_has 'not trained by method cozad'
stdout_has '1 step at 0\.003 on 4 photos'
echo PASS
