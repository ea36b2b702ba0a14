# SPDX-License-Identifier: Apache-2.0
"""Golden digests of Pillow's Image.resize(size, BILINEAR), made with Pillow 9.4.

  make_pillow_goldens.py random          > files/pillow_random.txt
  make_pillow_goldens.py photos DATA_DIR > files/pillow_photos.txt

random: "channels sw sh dw dh seed sha256-of-result"; sample i of an image is splitmix64(seed * 2^40 + i) >> 56, and in
images with an odd seed runs of 1 + seed % 7 samples are equal, so that flat parts and edges occur.
photos: "sha256-of-pixels sha256-of-256x256-result mode width height path", pixels as L (mode L, I;16 is left out) or RGB.
"""
import hashlib
import os
import random
import sys

import numpy as np
from PIL import Image

MASK = (1 << 64) - 1


def splitmix(x):
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def picture(channels, w, h, seed):
    i = np.arange(w * h * channels, dtype=np.uint64)
    if seed % 2 == 1:
        i = i // np.uint64(1 + seed % 7)
    values = (splitmix(i + np.uint64((seed << 40) & MASK)) >> np.uint64(56)).astype(np.uint8)
    if channels == 1:
        return Image.fromarray(values.reshape(h, w), "L")
    return Image.fromarray(values.reshape(h, w, 3), "RGB")


def digest(data):
    return hashlib.sha256(data).hexdigest()


def random_cases():
    rng = random.Random(20240607)
    cases = [(1, 1, 1, 1), (1, 1, 256, 256), (256, 256, 1, 1), (1, 300, 256, 256), (300, 1, 256, 256), (1, 1, 7, 1),
             (2, 2, 256, 256), (3, 5, 256, 256), (256, 256, 256, 256), (256, 256, 256, 100), (256, 256, 100, 256),
             (1024, 1024, 256, 256), (1000, 1000, 256, 256), (1023, 769, 256, 256), (512, 512, 256, 256),
             (448, 448, 256, 256), (700, 700, 329, 329), (257, 255, 256, 256), (255, 257, 256, 256),
             (16000, 40, 256, 256), (16000, 3, 256, 7), (37, 16000, 256, 256), (65535, 2, 100, 5), (2, 65535, 3, 200),
             (3, 3, 3000, 17), (1, 2, 65535, 2), (5, 1, 2, 65535), (5000, 4, 1, 1), (17, 16, 16, 17), (8, 8, 4, 4),
             (9, 7, 8, 6), (640, 480, 256, 192), (33, 65, 64, 32), (1920, 1080, 448, 252)]
    while len(cases) < 130:
        kind = rng.randrange(5)
        if kind == 0:
            case = [rng.randint(1, 40) for _ in range(4)]
        elif kind == 1:
            case = [rng.randint(1, 700), rng.randint(1, 700), rng.randint(1, 300), rng.randint(1, 300)]
        elif kind == 2:
            case = [rng.randint(200, 900), rng.randint(200, 900), 256, 256]
        elif kind == 3:
            case = [rng.randint(1, 60), rng.randint(1, 60), rng.randint(1, 500), rng.randint(1, 500)]
        else:
            case = [int(2 ** rng.uniform(0, 11)), int(2 ** rng.uniform(0, 9)), int(2 ** rng.uniform(0, 9)),
                    int(2 ** rng.uniform(0, 11))]
        cases.append(tuple(case))
    for number, (sw, sh, dw, dh) in enumerate(cases):
        for channels in (1, 3):
            seed = 2 * number + (channels == 3) + number % 2
            result = picture(channels, sw, sh, seed).resize((dw, dh), Image.BILINEAR)
            print(channels, sw, sh, dw, dh, seed, digest(result.tobytes()))


def photos(root):
    rng = random.Random(7)
    folders = {}
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            if name.lower().rsplit(".", 1)[-1] in ("jpg", "jpeg", "png"):
                folders.setdefault(folder, []).append(os.path.join(folder, name))
    for folder in sorted(folders):
        for path in sorted(rng.sample(folders[folder], min(2, len(folders[folder])))):
            image = Image.open(path)
            if image.mode not in ("1", "L", "RGB", "P", "RGBA", "CMYK"):
                continue
            # what a grayscale file is to us: mode 1 as 0 and 255
            image = image.convert("L") if image.mode in ("1", "L") else image.convert("RGB")
            small = image.resize((256, 256), Image.BILINEAR)
            print(digest(image.tobytes()), digest(small.tobytes()), image.mode, image.width, image.height,
                  os.path.relpath(path, root))


if __name__ == "__main__":
    if sys.argv[1] == "random":
        random_cases()
    else:
        photos(sys.argv[2])
