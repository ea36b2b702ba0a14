#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cozad synth: determinism, layout, masks, refusals. Usage: test_synth.sh PATH_OF_COZAD
set -u
cozad=${1:?the path of the cozad binary}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0

check() { # check NAME COMMAND...: passes when the command succeeds
    local name=$1
    shift
    if "$@" >"$dir/out" 2>&1; then
        echo "PASS $name"
    else
        echo "FAIL $name"
        sed 's/^/    /' "$dir/out" | head -n 20
        failed=1
    fi
}

exits() { # exits CODE COMMAND...
    local want=$1 got=0
    shift
    "$@" >"$dir/stdout" 2>"$dir/stderr" || got=$?
    [ "$got" -eq "$want" ] || {
        echo "exit code $got, not $want"
        cat "$dir/stderr"
        return 1
    }
}

sums() { (cd "$1" && find . -type f | LC_ALL=C sort | xargs sha256sum); }
small=(--normal 2 --test-good 1 --test-bad 5 --size 96 --quiet)

check "makes a set" exits 0 "$cozad" synth "$dir/a" "${small[@]}" --seed 5
check "makes it again" exits 0 "$cozad" synth "$dir/b" "${small[@]}" --seed 5
check "makes it on one thread" exits 0 env OMP_NUM_THREADS=1 "$cozad" synth "$dir/one" "${small[@]}" --seed 5
check "makes another" exits 0 "$cozad" synth "$dir/c" "${small[@]}" --seed 6
for set in a b one c; do sums "$dir/$set" >"$dir/$set.sums"; done
check "the set is not empty" [ -s "$dir/a.sums" ]
check "same seed: byte-identical" cmp "$dir/a.sums" "$dir/b.sums"
check "any thread count: byte-identical" cmp "$dir/a.sums" "$dir/one.sums"
differs() { # no picture of one seed is a picture of the other
    [ -s "$dir/a.sums" ] && [ "$(cut -d' ' -f1 "$dir/a.sums" "$dir/c.sums" | grep -c .)" -ge 104 ] &&
        ! (grep -v ground_truth "$dir/a.sums" | cut -d' ' -f1 | grep -F -f - "$dir/c.sums")
}
check "another seed: other pictures" differs

counts() {
    for scene in cloth metal pcb caps; do
        [ "$(find "$dir/a/$scene/train/good" -name '*.png' | wc -l)" -eq 2 ] || return 1
        [ "$(find "$dir/a/$scene/test/good" -name '*.png' | wc -l)" -eq 1 ] || return 1
        [ "$(find "$dir/a/$scene/test" -name '*.png' ! -path '*/good/*' | wc -l)" -eq 5 ] || return 1
        for bad in "$dir/a/$scene"/test/*/*.png; do
            case $bad in */good/*) continue ;; esac
            local mask=${bad/\/test\//\/ground_truth\/}
            [ -f "${mask%.png}_mask.png" ] || { echo "no mask for $bad" && return 1; }
        done
    done
    [ "$(find "$dir/a" -type f | wc -l)" -eq 52 ]
}
check "layout and counts" counts

masks() { # reads the PNGs with nothing but Python's own library: 8-bit gray, not interlaced
    python3 - "$dir/a" <<'PY'
import glob, struct, sys, zlib
def rows(path):
    data = open(path, 'rb').read()
    at, body = 8, b''
    while at < len(data):
        size, kind = struct.unpack('>I4s', data[at:at + 8])
        chunk = data[at + 8:at + 8 + size]
        if kind == b'IHDR': width, height, depth, colour = struct.unpack('>IIBB', chunk[:10])
        if kind == b'IDAT': body += chunk
        at += size + 12
    assert (width, height, depth, colour) == (96, 96, 8, 0), (path, width, height, depth, colour)
    raw, above, out = zlib.decompress(body), [0] * width, []
    for y in range(height):
        how, line = raw[y * (width + 1)], list(raw[y * (width + 1) + 1:(y + 1) * (width + 1)])
        for x in range(width):
            a, b, c = line[x - 1] if x else 0, above[x], above[x - 1] if x else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            line[x] = (line[x] + (0, a, b, (a + b) // 2, paeth)[how]) & 255
        above = line
        out += line
    return out
masks = glob.glob(sys.argv[1] + '/*/ground_truth/*/*_mask.png')
assert len(masks) == 20, len(masks)
for path in masks:
    values = rows(path)
    share = sum(v == 255 for v in values) / len(values)
    assert set(values) <= {0, 255}, path
    assert 0.0002 < share < 0.25, (path, share)
PY
}
if command -v python3 >/dev/null; then
    check "masks are 0 and 255, not empty, not everything" masks
else
    echo "skipped: masks (no python3)"
fi

check "refuses a folder that is not empty" exits 2 "$cozad" synth "$dir/a" "${small[@]}" --seed 9
check "  and says so in one line" [ "$(wc -l <"$dir/stderr")" -eq 1 ]
sums "$dir/a" >"$dir/after.sums"
check "  and leaves it as it was" cmp "$dir/a.sums" "$dir/after.sums"
touch "$dir/c/mine.txt" "$dir/c/cloth/train/good/mine.png"
check "--force replaces" exits 0 "$cozad" synth "$dir/c" --normal 1 --test-good 1 --test-bad 5 --size 96 --quiet --seed 5 --force
check "  other people's files stay" [ -f "$dir/c/mine.txt" -a -f "$dir/c/cloth/train/good/mine.png" ]
check "  nothing of the earlier set is left" [ ! -e "$dir/c/cloth/train/good/001.png" ]
check "  and is the set of the new seed" cmp "$dir/a/pcb/test/good/000.png" "$dir/c/pcb/test/good/000.png"

check "chosen scenes only" exits 0 "$cozad" synth "$dir/d" "${small[@]}" --seed 5 --scenes caps,pcb --json
check "  as one JSON object" grep -q '^{.*"scenes":{"pcb":.*"caps":.*}$' "$dir/stdout"
check "  no other scene" [ "$(ls "$dir/d" | tr '\n' ' ')" = "caps pcb " ]
check "  the same pictures as in the whole set" cmp "$dir/a/caps/train/good/001.png" "$dir/d/caps/train/good/001.png"
check "unknown scene" exits 2 "$cozad" synth "$dir/e" --scenes cloth,wood
check "no folder" exits 2 "$cozad" synth
check "size out of range" exits 2 "$cozad" synth "$dir/e" --size 1
check "nothing to make" exits 2 "$cozad" synth "$dir/e" --normal 0 --test-good 0 --test-bad 0
touch "$dir/file"
check "a file where the folder should be" exits 2 "$cozad" synth "$dir/file" "${small[@]}"
check "a file in the way" exits 2 "$cozad" synth "$dir/file/below" "${small[@]}"
[ ! -e "$dir/e" ] || { echo "FAIL a refused call made a folder" && failed=1; }
exit $failed
