#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tiles: the defect of a large photo is found where it is, maps by rows are the maps, thresholds belong to their tiles; inputs
# that are not square.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_small.sh"
python=/usr/bin/python3
"$python" -c 'import numpy, PIL' 2>/dev/null || skip "no numpy and PIL to make a large photo with"
make_scenes
weights=random:resnet18:2 # random weights call some defects normal; these find this one

"$python" - "$tmp" <<'PY'
import sys, os
import numpy as np
from PIL import Image
folder = sys.argv[1]
rng = np.random.default_rng(3)
def cloth(h, w):
    y, x = np.mgrid[0:h, 0:w]
    v = 110 + 30 * np.sin(x * 0.6) * np.cos(y * 0.5) + rng.normal(0, 4, (h, w))
    return np.repeat(v.clip(0, 255).astype(np.uint8)[..., None], 3, 2)
os.makedirs(folder + "/good"); os.makedirs(folder + "/held"); os.makedirs(folder + "/large")
for i in range(6):
    Image.fromarray(cloth(96, 96)).save(f"{folder}/good/{i}.png")
for i in range(6):
    Image.fromarray(cloth(150, 210)).save(f"{folder}/held/{i}.png")
big = cloth(500, 700)
big[300:340, 520:560] = 240
Image.fromarray(big).save(folder + "/large/big.tif")
PY

expect 0 "$cozad" train --normal "$tmp/good" "${small[@]}" --backbone "$weights" --patches-per-image 64 \
    --epochs 60 --seed 1 -o "$tmp/m.cozad"

# a photo that is one tile has the score that it has without tiles
expect 0 "$cozad" score -m "$tmp/m.cozad" --backbone "$weights" "$tmp/good/0.png" --json --threads 1 --no-cache
cp "$tmp/out" "$tmp/whole"
expect 0 "$cozad" score -m "$tmp/m.cozad" --backbone "$weights" "$tmp/good/0.png" --json --threads 1 --no-cache --tile 96
cmp "$tmp/out" "$tmp/whole" || fail "one tile has another score"

# maps, overlay and page by rows; the map's peak lies in the defect
expect 0 "$cozad" score -m "$tmp/m.cozad" --backbone "$weights" "$tmp/large" --threads 1 --no-cache --tile 96 \
    --tile-overlap 32 --maps "$tmp/maps" --overlay --report "$tmp/page.html"
[ -s "$tmp/maps/big.tif.overlay.png" ] || fail "no overlay"
grep -q '</html>' "$tmp/page.html" || fail "no page"
"$python" - "$tmp/maps/big.tif.map.png" <<'PY' || fail "the map's peak is not in the defect"
import sys
import numpy as np
from PIL import Image
a = np.asarray(Image.open(sys.argv[1])).astype(int)
assert a.shape == (500, 700), a.shape
y, x = divmod(int(a.argmax()), 700)
assert 285 <= y < 355 and 505 <= x < 575, (x, y)
PY

# eval keeps the whole map; its heat map is the one written by rows
mkdir -p "$tmp/none"
cp "$tmp/good/0.png" "$tmp/none"
expect 0 "$cozad" eval -m "$tmp/m.cozad" --backbone "$weights" --normal "$tmp/none" --abnormal "$tmp/large" --threads 1 \
    --no-cache --tile 96 --tile-overlap 32 --resamples 0 --overlays "$tmp/over"
cmp "$(find "$tmp/over" -name 'big.tif.map.png')" "$tmp/maps/big.tif.map.png" || fail "rows and whole map differ"

# batches of tiles
expect 0 "$cozad" score -m "$tmp/m.cozad" --backbone "$weights" "$tmp/large" --threads 1 --no-cache --tile 96x80 --batch 5
stdout_has 'big.tif'

# a threshold belongs to its tiles, which the model remembers
expect 0 "$cozad" calibrate -m "$tmp/m.cozad" --backbone "$weights" --normal "$tmp/held" --rule iqr --threads 1 --no-cache \
    --tile 96 --tile-overlap 32 -o "$tmp/c.cozad"
expect 0 "$cozad" score -m "$tmp/c.cozad" --backbone "$weights" "$tmp/large" --threads 1 --no-cache --json
stdout_has '"decision":"?anomal'
stdout_has '"regions":\['
expect 2 "$cozad" score -m "$tmp/c.cozad" --backbone "$weights" "$tmp/large" --threads 1 --no-cache --tile 64
one_line 'tiles of 96x96 pixels that overlap by 32'
expect 2 "$cozad" score -m "$tmp/c.cozad" --backbone "$weights" "$tmp/large" --threads 1 --no-cache --tile 0
expect 0 "$cozad" score -m "$tmp/c.cozad" --backbone "$weights" "$tmp/large" --threads 1 --no-cache --tile 64 --no-decision
expect 1 "$cozad" score -m "$tmp/c.cozad" --backbone "$weights" "$tmp/large" --threads 1 --no-cache --gate

# nonsense
for bad in "--tile 64 --tile-overlap 64" "--tile 64x32 --tile-overlap 32" "--tile-overlap 8" "--tile x" "--tile 64x0"; do
    # shellcheck disable=SC2086
    expect 2 "$cozad" score -m "$tmp/m.cozad" --backbone "$weights" "$tmp/large" --threads 1 $bad
    one_line 'tile'
done
expect 2 "$cozad" score -m "$tmp/m.cozad" --backbone "$weights" "$tmp/large" --threads 1 --tile 64 --fit letterbox
one_line 'squash'

# inputs that are not square, odd sizes among them
for size in 64x128 128x64 100x72 97x65; do
    expect 0 train_small "$tmp/n.cozad" --backbone "$weights" --image-size "$size" --no-cache
    expect 0 "$cozad" score -m "$tmp/n.cozad" --backbone "$weights" "$scenes/cloth/test" --threads 1 --no-cache --maps "$tmp/n"
    expect 0 "$cozad" score -m "$tmp/n.cozad" --backbone "$weights" "$scenes/cloth/test" --threads 1 --no-cache --tile 64x48
    expect 0 "$cozad" eval -m "$tmp/n.cozad" --backbone "$weights" --data "$scenes/cloth" --threads 1 --no-cache \
        --resamples 0 --tile 64x48
    expect 0 "$cozad" features "$scenes/cloth/test/good/000.png" --backbone "$weights" --image-size "$size" -o "$tmp/f"
done
