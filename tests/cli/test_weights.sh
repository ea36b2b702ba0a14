#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# cozad weights: list, inspect, convert, verify, and fetch from a folder in place of the network.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
pth=$root/tests/unit/files/pth

expect 0 "$cozad" weights --help
stdout_has 'fetch'
expect 2 "$cozad" weights
expect 2 "$cozad" weights frobnicate
one_line 'no verb "frobnicate"'
for verb in list inspect convert verify fetch; do
    expect 0 "$cozad" weights "$verb" --help
    stdout_has "cozad weights $verb"
done

# inspect
for format in zip legacy; do
    expect 0 "$cozad" weights inspect "$pth/basic_$format.pth"
    stdout_has '^shared.column +F32 +\[3\] +12 B'
    stdout_has "^16 tensors, .*pytorch-$format"
done
expect 0 "$cozad" weights inspect --json "$pth/nested_zip.pth"
stdout_has '"name":"conv1.weight","dtype":"F32","shape":\[2,1,3,3\],"bytes":72'
expect 4 "$cozad" weights inspect "$pth/evil_zip.pth"
one_line "evil_zip.pth: refused global 'posix.system'"
expect 2 "$cozad" weights inspect
expect 4 "$cozad" weights inspect "$tmp/missing.pth"
one_line 'missing.pth'
: >"$tmp/empty.pth"
expect 4 "$cozad" weights inspect "$tmp/empty.pth"
one_line 'empty'

# convert: the same tensors; an output that cannot be written leaves nothing and is exit code 5
expect 0 "$cozad" weights convert -q "$pth/basic_legacy.pth" "$tmp/basic.safetensors"
"$cozad" weights inspect "$pth/basic_legacy.pth" | sed '$d' >"$tmp/before"
"$cozad" weights inspect "$tmp/basic.safetensors" | sed '/^#/d;$d' >"$tmp/after"
cmp -s "$tmp/before" "$tmp/after" || fail "converted tensors differ"
expect 5 "$cozad" weights convert -q "$pth/basic_legacy.pth" "$tmp/no/such/folder.safetensors"
expect 4 "$cozad" weights convert "$pth/evil_legacy.pth" "$tmp/evil.safetensors"
[ ! -e "$tmp/evil.safetensors" ] || fail "an output of a refused input"

# verify
expect 4 "$cozad" weights verify "$tmp/basic.safetensors"
one_line 'conv1.weight: missing'
expect 4 "$cozad" weights verify wide_resnet50_2
one_line 'cozad weights fetch wide_resnet50_2'
if [ -e "$data/weights/resnet18_tv_folded.safetensors" ]; then
    mkdir -p "$COZAD_HOME"
    cp "$data/weights/resnet18_tv_folded.safetensors" "$COZAD_HOME/resnet18.safetensors"
    expect 0 "$cozad" weights verify resnet18
    stdout_has 'resnet18, 30 tensors'
    expect 0 "$cozad" weights list
    stdout_has "^resnet18 .*$COZAD_HOME/resnet18.safetensors"
fi

# fetch: no network fails at once and says what to do
SECONDS=0
expect 5 "$cozad" weights fetch resnet34 --mirror http://127.0.0.1:9/models
one_line "cannot download resnet34-b627a593.pth: .* put it at $COZAD_HOME/resnet34-b627a593.pth"
[ "$SECONDS" -le 10 ] || fail "took $SECONDS s to find out that there is no network"
expect 2 "$cozad" weights fetch no_such_network
expect 2 "$cozad" weights fetch
[ -z "$(find "$COZAD_HOME" -name '*.part')" ] || fail "an empty part file was left"

# what arrives must have the SHA-256 it should have
mirror=$tmp/mirror
mkdir "$mirror"
echo "something else" >"$mirror/resnet34-b627a593.pth"
expect 5 "$cozad" weights fetch resnet34 --mirror "file://$mirror"
one_line 'does not begin with b627a593; removed'
[ -z "$(find "$COZAD_HOME" -name 'resnet34*')" ] || fail "a wrong file was kept"
echo "damaged" >"$COZAD_HOME/resnet34-b627a593.pth"
expect 4 "$cozad" weights fetch resnet34 --mirror "file://$mirror"
one_line 'remove it to fetch it again'
rm "$COZAD_HOME/resnet34-b627a593.pth"

# a text that was searched for until its SHA-256 began as that of a published file
text='not weights 000227088815'
file=resnet50-11ad3fa6.pth
echo "$text" >"$mirror/$file"
expect 0 "$cozad" weights fetch resnet50-11ad3fa6 --mirror "file://$mirror"
one_line "$COZAD_HOME/$file .*SHA-256 11ad3fa6"
cmp -s "$mirror/$file" "$COZAD_HOME/$file" || fail "the file differs from the mirror's"
expect 0 "$cozad" weights fetch resnet50-11ad3fa6 --mirror "file://$mirror"
one_line 'there already'
# the right name and SHA-256, but no weights
expect 4 "$cozad" weights verify "$COZAD_HOME/$file"

# an interrupted download goes on where it stopped; one that went wrong begins again
rm "$COZAD_HOME/$file"
printf '%s' "${text:0:10}" >"$COZAD_HOME/$file.part"
expect 0 "$cozad" weights fetch resnet50-11ad3fa6 --mirror "file://$mirror"
stderr_has 'resuming .* at byte 10'
cmp -s "$mirror/$file" "$COZAD_HOME/$file" || fail "a resumed download differs"
rm "$COZAD_HOME/$file"
printf 'rubbish' >"$COZAD_HOME/$file.part"
expect 0 "$cozad" weights fetch resnet50-11ad3fa6 --mirror "file://$mirror"
cmp -s "$mirror/$file" "$COZAD_HOME/$file" || fail "a download that began again differs"
[ ! -e "$COZAD_HOME/$file.part" ] || fail "a part file was left"
