# SPDX-License-Identifier: Apache-2.0
"""Golden score maps: torch.nn.functional.interpolate(bilinear, align_corners=False) in float64, then
scipy.ndimage.gaussian_filter with one sigma an axis, then interpolate to the image's size.

  make_map_goldens.py > ../unit/files/score_map.txt

Each case: "case GW GH W H IW IH N" and N sampled values of both maps, "index input-map-value" and "index
original-map-value" in turn. Score i of the grid is ((i * 7919) % 1009) / 1009 + 3 * (i == GW * GH // 3).
"""
import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

CASES = [(32, 32, 256, 256, 1024, 1024), (32, 32, 256, 256, 300, 200), (56, 56, 448, 448, 384, 705),
         (40, 24, 320, 192, 101, 103), (5, 7, 40, 56, 17, 90), (1, 1, 8, 8, 5, 4), (3, 1, 24, 8, 50, 3),
         (33, 17, 257, 131, 512, 300)]
SAMPLES = 64


def interpolate(a, h, w):
    return F.interpolate(torch.from_numpy(a)[None, None], (h, w), mode="bilinear", align_corners=False)[0, 0].numpy()


def main():
    for gw, gh, w, h, iw, ih in CASES:
        i = np.arange(gw * gh)
        scores = ((i * 7919) % 1009) / 1009.0
        scores[gw * gh // 3] += 3.0
        scores = scores.reshape(gh, gw).astype(np.float32).astype(np.float64)
        small = gaussian_filter(interpolate(scores, h, w), (4.0 * h / 256, 4.0 * w / 256), mode="reflect")
        large = interpolate(small, ih, iw)
        print("case", gw, gh, w, h, iw, ih, SAMPLES)
        for s in range(SAMPLES):
            p = (s * 104729 + s) % (w * h) if s else w * h - 1
            q = (s * 104729 + s) % (iw * ih) if s else iw * ih - 1
            print(p, "%.9e" % small.flat[p], q, "%.9e" % large.flat[q])


if __name__ == "__main__":
    main()
