# SPDX-License-Identifier: Apache-2.0
"""Golden metrics of scikit-learn (1.2) and scipy.ndimage.label, on data that an integer hash makes in C as well.

  make_metrics_goldens.py > files/metrics.txt

image SEED COUNT LEVELS SHARE AUROC AP F1: score i is floor(u * LEVELS) / 64 of u = uniform of the hash of "score",
its label uniform("label")[i] < SHARE.
pixel SEED IMAGES WIDTH HEIGHT LEVELS DENSITY AUROC AP F1 AUPRO(0.3) AUPRO(0.05) SIMPLENET(0.3) REGIONS: see pixels().
"nan": undefined. Floats are printed with 17 digits.
"""
import warnings

import numpy as np
from hashweights import name_hash, uniform
from scipy import ndimage
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

NAN = float("nan")


def ranking(labels, scores):
    if labels.all() or not labels.any():
        return NAN, NAN, NAN
    precision, recall, _ = precision_recall_curve(labels, scores)
    with np.errstate(invalid="ignore"):
        f1 = 2 * precision * recall / (precision + recall)
    return roc_auc_score(labels, scores), average_precision_score(labels, scores), np.nanmax(f1)


def images(seed, count, levels, share):
    scores = np.floor(uniform(name_hash("score", seed), count).astype(np.float64) * levels) / 64
    labels = uniform(name_hash("label", seed), count) < np.float32(share)
    return scores, labels


def pixels(seed, count, width, height, levels, density):
    """Maps [count, height, width] float32 and masks. Odd images have two rectangles and single pixels, which touch by
    corners; their defects score 0.5 higher."""
    maps = uniform(name_hash("map", seed), count * width * height).reshape(count, height, width)
    noise = uniform(name_hash("mask", seed), count * width * height).reshape(count, height, width)
    masks = (noise * np.float32(0.5) + np.float32(0.5)) < np.float32(density)
    corners = uniform(name_hash("corner", seed), 8 * count)
    for k in range(count):
        if k % 2 == 0 or density == 0:
            masks[k] = False
            continue
        for r in range(2):
            x, y, w, h = [int((float(u) + 1) * 0.5 * 8) for u in corners[8 * k + 4 * r : 8 * k + 4 * r + 4]]
            masks[k, y : y + h, x : x + w] = True
    maps = np.floor((maps + np.float32(0.5) * masks.astype(np.float32)) * np.float32(levels)) / np.float32(levels)
    return maps.astype(np.float32), masks


def regions(masks):
    return [(k, labelled == r) for k, mask in enumerate(masks)
            for labelled, n in [ndimage.label(mask, structure=np.ones((3, 3)))] for r in range(1, n + 1)]


def overlap_curve(maps, masks):
    """False-positive rates and mean overlaps at every distinct score, region by region."""
    found = regions(masks)
    levels = np.unique(maps)[::-1]
    normal = np.sort(maps[~masks])
    x = (normal.size - np.searchsorted(normal, levels, side="left")) / normal.size
    y = np.zeros(levels.size)
    for k, region in found:
        inside = np.sort(maps[k][region])
        y += (inside.size - np.searchsorted(inside, levels, side="left")) / inside.size
    return np.concatenate(([0.0], x)), np.concatenate(([0.0], y / len(found))), len(found)


def area_to(x, y, limit):
    cut = np.searchsorted(x, limit, side="left")  # the first point at or beyond the limit
    end = y[cut] if x[cut] == limit else y[cut - 1] + (y[cut] - y[cut - 1]) * (limit - x[cut - 1]) / (x[cut] - x[cut - 1])
    return auc(np.append(x[:cut], limit), np.append(y[:cut], end)) / limit


def simplenet(maps, masks, limit):
    """200 equally spaced thresholds, strictly above, rescaled by the largest rate below the limit."""
    found = regions(masks)
    low, high = float(maps.min()), float(maps.max())
    points = []
    for t in range(200):
        above = maps.astype(np.float64) > low + t * ((high - low) / 200)
        rate = np.logical_and(above, ~masks).sum() / (~masks).sum()
        if rate < limit:
            points.append((rate, np.mean([above[k][region].mean() for k, region in found])))
    points = np.array(points[::-1])
    if len(points) < 2 or points[-1, 0] <= 0:
        return NAN
    return auc(points[:, 0] / points[-1, 0], points[:, 1])


def show(*fields):
    print(" ".join("%.17g" % f if isinstance(f, float) else str(f) for f in fields))


def main():
    for seed in range(40):
        count = [2, 3, 10, 50, 200][seed % 5]
        levels = [1, 4, 20, 1 << 20][seed % 4]
        share = [-0.8, 0.0, 0.7, -0.98][seed // 10]
        scores, labels = images(seed, count, levels, share)
        show("image", seed, count, levels, share, *map(float, ranking(labels, scores)))
    for seed in range(14):
        count, width, height = 2 + seed % 5, 16 + seed, 24 - seed // 2
        levels = [8, 64, 1 << 12, 1 << 22, 1 << 22][seed % 5]
        density = [0.03, 0.0, 0.15][seed % 3]
        maps, masks = pixels(seed, count, width, height, levels, density)
        values = list(ranking(masks.ravel(), maps.ravel()))
        if masks.any():
            x, y, number = overlap_curve(maps, masks)
            values += [area_to(x, y, 0.3), area_to(x, y, 0.05), simplenet(maps, masks, 0.3), number]
        else:
            values += [NAN, NAN, NAN, 0]
        show("pixel", seed, count, width, height, levels, density, *map(float, values[:6]), values[6])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
