# SPDX-License-Identifier: Apache-2.0
"""Makes the training data: procedural crops and, beside them, the teacher's reduced maps, in shards of 512 crops.

    python3 shards.py --teacher resnet50_msra.safetensors --work FOLDER [--photos FOLDER ...] [--limit 400]

A folder then holds
    basis.npz                  the reduction: per map mean and std of every channel, the leading principal axes and
                               their variances, fitted on FIT crops
    shards/NNNNN.x.npy         [512, 128, 128, 3] uint8 crops, seeds 512 N … 512 N + 511
    shards/NNNNN.layer2.npy    [512, 16, 16, 160] int8: whitened component x SCALE
    shards/NNNNN.layer3.npy    [512, 8, 8, 224] int8
    validation.*.npy           the same of seeds never trained on
    photos.*.npy               the same of crops of photos (validation only)
It goes on where it was stopped: a shard is renamed into place when it is whole, and depends on its number alone.
Photos are never trained on.
"""

import argparse
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import pictures
from teacher import CHANNELS, Teacher

SHARD = 512
FIT, FIT_SEED = 1024, 1 << 40
VALIDATION, VALIDATION_SEED = 512, 1 << 41
PHOTOS = 384
KEEP = {"layer2": 160, "layer3": 224}
SCALE = 16  # of the int8 values: +-8 standard deviations
BATCH = 16


class Basis:
    """The reduction of the teacher's maps: standardise every channel, project on principal axes, whiten."""

    def __init__(self, path):
        with np.load(path) as file:
            self.values = {name: file[name] for name in file.files}

    def projections(self):
        """{map: (weight [keep, C, 1, 1], bias [keep])} of one 1x1 convolution each; float32 tensors."""
        out = {}
        for name in KEEP:
            std, axes, mean = (self.values[f"{name}.{part}"] for part in ("std", "axes", "mean"))
            weight = axes / np.sqrt(self.values[f"{name}.variance"])[:, None] / std[None, :]
            out[name] = (torch.from_numpy(weight[:, :, None, None].astype(np.float32)),
                         torch.from_numpy((-weight @ mean).astype(np.float32)))
        return out


def as_input(crops):
    x = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2)
    return x.to(torch.bfloat16)  # whole numbers up to 255 are exact; channels_last already


def fit(teacher, path):
    """Means, covariances and principal axes of the maps over FIT crops, in double."""
    sums = {name: [0.0, np.zeros(c), np.zeros((c, c))] for name, c in CHANNELS.items()}
    for first in range(0, FIT, BATCH):
        maps = teacher(as_input(np.stack([pictures.crop(FIT_SEED + first + i) for i in range(BATCH)])))
        for (name, total), values in zip(sums.items(), maps):
            rows = values.float().permute(0, 2, 3, 1).reshape(-1, CHANNELS[name])
            if name == "layer2":  # a fifth of the cells is enough
                rows = rows[first // BATCH % 5::5].contiguous()
            total[0] += len(rows)
            total[1] += rows.double().sum(0).numpy()
            total[2] += F.linear(rows.t().contiguous(), rows.t().contiguous()).double().numpy()
    values = {}
    for name, (count, total, squares) in sums.items():
        mean = total / count
        covariance = squares / count - np.outer(mean, mean)
        std = np.sqrt(np.maximum(np.diag(covariance), 1e-8))
        variance, axes = np.linalg.eigh(covariance / np.outer(std, std))
        order = np.argsort(-variance)[:KEEP[name]]
        values |= {f"{name}.mean": mean, f"{name}.std": std, f"{name}.axes": axes[:, order].T,
                   f"{name}.variance": variance[order]}
        print(f"{name}: {KEEP[name]} axes hold {variance[order].sum() / variance.sum():.3f} of the variance",
              flush=True)
    np.savez(f"{path}.tmp.npz", **values)
    os.replace(f"{path}.tmp.npz", path)


def reduced(teacher, projections, crops):
    """{map: [N, H, W, keep] int8} of crops [N, 128, 128, 3]."""
    parts = {name: [] for name in KEEP}
    for first in range(0, len(crops), BATCH):
        maps = teacher(as_input(crops[first:first + BATCH]))
        for (name, out), values in zip(parts.items(), maps):
            weight, bias = projections[name]
            values = F.conv2d(values, weight, bias).permute(0, 2, 3, 1).float()
            out.append(torch.clamp(torch.round(values * SCALE), -127, 127).to(torch.int8).numpy())
    return {name: np.concatenate(out) for name, out in parts.items()}


def save(stem, crops, maps):
    for name, values in maps.items():
        np.save(f"{stem}.{name}.tmp.npy", values)
        os.replace(f"{stem}.{name}.tmp.npy", f"{stem}.{name}.npy")
    np.save(f"{stem}.x.tmp.npy", crops)
    os.replace(f"{stem}.x.tmp.npy", f"{stem}.x.npy")  # the last: says that the shard is whole


def photo_crops(folders):
    """PHOTOS crops at the scale of a photo brought to 256 pixels, evenly from the folders' pictures."""
    paths = []
    for folder in folders:
        found = sorted(os.path.join(at, name) for at, _, names in os.walk(folder) for name in names
                       if name.lower().endswith((".png", ".jpg", ".jpeg")))
        if not found:
            sys.exit(f"{folder}: no pictures")
        paths += [found[i * len(found) // (PHOTOS // len(folders))] for i in range(PHOTOS // len(folders))]
    rng, crops = np.random.default_rng(7), []
    for path in paths:
        picture = np.asarray(Image.open(path).convert("RGB").resize((256, 256), Image.BILINEAR))
        y, x = rng.integers(0, 129, 2)
        crops.append(picture[y:y + 128, x:x + 128])
    return np.stack(crops)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--teacher", required=True, help="resnet50_msra.safetensors")
    parser.add_argument("--work", required=True, help="folder to write to (110 KB a crop)")
    parser.add_argument("--photos", nargs="*", default=[], help="folders of photos for validation")
    parser.add_argument("--limit", type=int, default=400, help="shards to make (400)")
    parser.add_argument("--until", type=float, default=float("inf"), help="stop at this time (seconds since 1970)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    os.makedirs(f"{options.work}/shards", exist_ok=True)
    teacher = Teacher(options.teacher).to(memory_format=torch.channels_last).to(torch.bfloat16)
    basis = f"{options.work}/basis.npz"
    if not os.path.exists(basis):
        fit(teacher, basis)
    projections = {name: (w.to(torch.bfloat16), b.to(torch.bfloat16))
                   for name, (w, b) in Basis(basis).projections().items()}
    for number in range(options.limit):
        stem = f"{options.work}/shards/{number:05d}"
        if os.path.exists(f"{stem}.x.npy"):
            continue
        if time.time() > options.until:
            break
        begin = time.time(), time.process_time()
        crops = np.stack([pictures.crop(number * SHARD + i) for i in range(SHARD)])
        made = time.process_time()
        save(stem, crops, reduced(teacher, projections, crops))
        print(f"shard {number}: {time.time() - begin[0]:.1f} s, {(made - begin[1]) / SHARD * 1e3:.1f} + "
              f"{(time.process_time() - made) / SHARD * 1e3:.1f} ms of processor time a crop", flush=True)
        if number >= 1 and not os.path.exists(f"{options.work}/validation.x.npy"):
            crops = np.stack([pictures.crop(VALIDATION_SEED + i) for i in range(VALIDATION)])
            save(f"{options.work}/validation", crops, reduced(teacher, projections, crops))
        if number >= 2 and options.photos and not os.path.exists(f"{options.work}/photos.x.npy"):
            crops = photo_crops(options.photos)
            save(f"{options.work}/photos", crops, reduced(teacher, projections, crops))


if __name__ == "__main__":
    main()
