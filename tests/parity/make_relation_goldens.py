#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes files/relation.safetensors: relational descriptors (src/features/relation.h) of two taps by PyTorch in double, without a
mask (made with PyTorch 1.13). Maps are hashes of their names (hashweights.py), rounded to bf16, which the test makes again."""
import os

import numpy as np
import torch
import torch.nn.functional as F

import hashweights
import safetensors_py

HERE = os.path.dirname(os.path.abspath(__file__))
TAPS = ((24, 14, 16), (40, 7, 8))  # channels, height, width
GUARDS = (3, 2)
FLOOR = 1e-6


def tap_map(index):
    """[h, w, C]: noise around a mean, every channel with a spread of its own."""
    channels, height, width = TAPS[index]
    values = hashweights.uniform(hashweights.name_hash(f"relation.{index}"), height * width * channels)
    values = values.reshape(height, width, channels)
    values = values * (np.arange(channels, dtype=np.float32) % np.float32(7) + np.float32(1)) + np.float32(0.75)
    return torch.from_numpy(values).bfloat16().double()


def far_cells(height, width, guard):
    y, x = np.divmod(np.arange(height * width), width)
    apart = np.maximum(np.abs(y[:, None] - y), np.abs(x[:, None] - x))
    return torch.from_numpy(apart > guard)


def box_mean(x, side):
    mean = F.avg_pool2d(x.permute(2, 0, 1)[None], side, 1, side // 2, count_include_pad=False)
    return mean[0].permute(1, 2, 0)


def kinds(x, guard):
    """[h, w, C] -> [h * w, 9]"""
    height, width, channels = x.shape
    v = x.reshape(-1, channels)
    median = v.median(0)[0]
    spread = (v - median).abs().mean(0) + FLOOR
    far = far_cells(height, width, guard)
    distance = (v[:, None] - v).pow(2).sum(-1).sqrt().masked_fill(~far, np.inf)
    nearest = distance.topk(20, largest=False)[0]
    unit = v / v.norm(dim=1, keepdim=True)
    cosine = (unit @ unit.t()).masked_fill(~far, -np.inf).topk(5)[0]
    assert torch.isfinite(nearest).all() and torch.isfinite(cosine).all()
    columns = [
        ((v - median) / spread).pow(2).mean(1).sqrt(),
        (v - median).norm(dim=1),
        nearest[:, 0],
        nearest[:, :5].mean(1),
        nearest.mean(1),
        (1 - cosine.mean(1)).clamp_min(FLOOR),
        (x - box_mean(x, 3)).reshape(-1, channels).norm(dim=1),
        (x - box_mean(x, 7)).reshape(-1, channels).norm(dim=1),
        v.norm(dim=1),
    ]
    return torch.stack(columns, 1)


def forms(values):
    """[n, 9] -> [n, 27]: log, less its median, rank"""
    v = values.clamp_min(FLOOR).log()
    order = v.sort(dim=0, stable=True)[1]  # two cells may be each other's nearest
    rank = order.argsort(0).double() / (len(v) - 1) - 0.5
    return torch.cat([v, v - v.median(0)[0], rank], 1)


def main():
    _, height, width = TAPS[0]
    parts = []
    for index, guard in enumerate(GUARDS):
        x = tap_map(index)
        rows = forms(kinds(x, guard)).reshape(*x.shape[:2], -1).permute(2, 0, 1)[None]
        rows = F.interpolate(rows, size=(height, width), mode="bilinear", align_corners=False)
        parts.append(rows[0].permute(1, 2, 0).reshape(height * width, -1))
    out = torch.cat(parts, 1).float().numpy()
    print(out.shape, out.min(), out.max())
    safetensors_py.save(os.path.join(HERE, "files", "relation.safetensors"), {"relation": out})


if __name__ == "__main__":
    main()
