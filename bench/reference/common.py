# SPDX-License-Identifier: Apache-2.0
"""What the PyTorch reference scripts share: weights, backbone, patch features, data sets and metrics.

Written from docs/math.md sections 1-3 alone, independently of the C code it is compared with. Needs torch, numpy, scipy
and Pillow. PyTorch's matrix products are only as fast as its BLAS: with the plain reference BLAS (Debian) they
are some forty times slower than with OpenBLAS, so every result carries the measured speed (`sgemm_gflops`).

  python3 common.py --check            patch features against the literal form, AUROC against loops
  python3 common.py --data DIR ...     tapped maps of one data set, cached under --work
"""
import argparse
import csv
import hashlib
import json
import os
import struct
import time

import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as F
from PIL import Image

PATCH_WIDTH = 1536
TARGET_RMS = 0.245
TAPS = ("layer2", "layer3")


# -------------------------------------------------------------------------------------------------------------- weights
def read_safetensors(path):
    """All tensors as float32 numpy arrays, and the metadata."""
    kinds = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(data[begin:end], "<u2").astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] in kinds:
            values = np.frombuffer(data[begin:end], kinds[entry["dtype"]]).astype(np.float32)
        else:
            continue  # counters such as num_batches_tracked
        tensors[name] = values.reshape(entry["shape"])
    return tensors, metadata


class ResNet(torch.nn.Module):
    """Stem to layer3 of a bottleneck ResNet, batch norm folded, torchvision's or the MSRA layout (by metadata)."""

    def __init__(self, path):
        super().__init__()
        tensors, metadata = read_safetensors(path)
        self.msra = "conv1" in metadata.get("stride_in", "")
        self.eps = float(metadata.get("bn_eps", "1e-5"))
        imagenet_mean, imagenet_std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
        self.mean = torch.tensor(json.loads(metadata.get("input_mean", json.dumps(imagenet_mean))))
        self.std = torch.tensor(json.loads(metadata.get("input_std", json.dumps(imagenet_std))), dtype=torch.float32)
        self.folded = {}
        for name in tensors:
            if name.endswith("weight") and tensors[name].ndim == 4:
                self.folded[name[: -len(".weight")]] = self._fold(tensors, name[: -len(".weight")])
        self.blocks = {
            stage: len({n.split(".")[1] for n in tensors if n.startswith(stage + ".")})
            for stage in ("layer1", "layer2", "layer3")
        }

    def _fold(self, tensors, conv):
        norm = conv.replace("downsample.0", "downsample.1") if "downsample" in conv else conv.replace("conv", "bn")
        get = lambda leaf: tensors[f"{norm}.{leaf}"].astype(np.float64)
        gain = get("weight") / np.sqrt(get("running_var") + self.eps)
        weight = tensors[conv + ".weight"] * gain[:, None, None, None]
        bias = get("bias") - get("running_mean") * gain
        weight = torch.from_numpy(weight.astype(np.float32)).contiguous(memory_format=torch.channels_last)
        return weight, torch.from_numpy(bias.astype(np.float32))

    def _conv(self, x, name, stride=1, padding=0):
        return F.conv2d(x, *self.folded[name], stride=stride, padding=padding)

    def _block(self, x, name, stride):
        first, middle = (stride, 1) if self.msra else (1, stride)
        y = self._conv(x, name + ".conv1", first).relu_()
        y = self._conv(y, name + ".conv2", middle, 1).relu_()
        y = self._conv(y, name + ".conv3")
        if name + ".downsample.0" in self.folded:
            x = self._conv(x, name + ".downsample.0", stride)
        return y.add_(x).relu_()

    @torch.no_grad()
    def forward(self, rgb):
        """rgb: [N, S, S, 3] uint8 -> {tap: [N, h, w, C] float32}."""
        x = ((rgb.float() - self.mean) / self.std).permute(0, 3, 1, 2)  # channels last in memory
        x = self._conv(x, "conv1", 2, 3).relu_()
        if self.msra:
            x = F.max_pool2d(x, 3, 2, 0, ceil_mode=True)
        else:
            x = F.max_pool2d(x, 3, 2, 1)
        taps = {}
        for stage, count in self.blocks.items():
            for index in range(count):
                x = self._block(x, f"{stage}.{index}", 2 if index == 0 and stage != "layer1" else 1)
            taps[stage] = x.permute(0, 2, 3, 1)
        return {tap: taps[tap] for tap in TAPS}


# ------------------------------------------------------------------------------------------------------- patch features
def pool_map(x):
    """[h, w, C] -> [h * w, 768]: the channel half of the patch features, at the map's own resolution.

    Averages the three columns, shifts by the three rows and averages C / 256 consecutive (c, ky) rows."""
    h, w, channels = x.shape
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))
    columns = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3
    rows = torch.stack([columns[0:h], columns[1 : h + 1], columns[2 : h + 2]], dim=-1)  # [h, w, C, ky]
    return rows.reshape(h * w, PATCH_WIDTH // 2, 3 * channels // (PATCH_WIDTH // 2)).mean(-1)


class Upsampler:
    """Bilinear, align_corners=False, from [h * w, n] to chosen rows of the [H * W] grid."""

    def __init__(self, small, large):
        at = (torch.arange(large, dtype=torch.float64) + 0.5) * small / large - 0.5
        at = at.clamp(min=0)
        low = at.floor().long()
        high = (low + 1).clamp(max=small - 1)
        part = at - low
        iy, ix = torch.meshgrid(torch.arange(large), torch.arange(large), indexing="ij")
        iy, ix = iy.reshape(-1), ix.reshape(-1)
        self.index = torch.stack([a[iy] * small + b[ix] for a in (low, high) for b in (low, high)])
        weight = [(1 - part), part]
        self.weight = torch.stack([weight[a][iy] * weight[b][ix] for a in (0, 1) for b in (0, 1)]).float()

    def __call__(self, values, rows=None):
        index, weight = (self.index, self.weight) if rows is None else (self.index[:, rows], self.weight[:, rows])
        out = values[index[0]] * weight[0][:, None]
        for corner in (1, 2, 3):
            out.addcmul_(values[index[corner]], weight[corner][:, None])
        return out


def literal_patches(layer2, layer3):
    """The same as published: unfold, upsample the unfolded cells, adaptive pooling twice. [h, w, C] -> [P, 1536]."""
    grid = layer2.shape[0]
    parts = []
    for x in (layer2, layer3):
        h, w, channels = x.shape
        cells = F.unfold(x.permute(2, 0, 1)[None], 3, padding=1)  # [1, C * 9, h * w]
        cells = cells.reshape(1, channels * 9, h, w)
        if h != grid:
            cells = F.interpolate(cells, size=(grid, grid), mode="bilinear", align_corners=False)
        flat = cells[0].reshape(channels * 9, grid * grid).t()
        parts.append(F.adaptive_avg_pool1d(flat[:, None], PATCH_WIDTH)[:, 0])
    return F.adaptive_avg_pool1d(torch.cat(parts, 1)[:, None], PATCH_WIDTH)[:, 0]


# ------------------------------------------------------------------------------------------------------------ data sets
def list_dataset(root, layout):
    """[(path, 'train' | 'test', label, mask path or '')], sorted, paths relative to root."""
    items = []
    if layout == "magnetic":
        with open(os.path.join(root, "split.csv"), newline="") as file:
            for row in csv.DictReader(file):
                items.append((row["path"], row["split"], int(row["label"]), row["mask"] if row["label"] == "1" else ""))
        return sorted(items)
    for name in sorted(os.listdir(os.path.join(root, "train", "good"))):
        items.append((f"train/good/{name}", "train", 0, ""))
    for kind in sorted(os.listdir(os.path.join(root, "test"))):
        for name in sorted(os.listdir(os.path.join(root, "test", kind))):
            mask = "" if kind == "good" else f"ground_truth/{kind}/{os.path.splitext(name)[0]}_mask.png"
            items.append((f"test/{kind}/{name}", "test", int(kind != "good"), mask))
    return items


def load_photo(path, size):
    with Image.open(path) as image:
        rgb = image.convert("RGB").resize((size, size), Image.BILINEAR)
    return torch.from_numpy(np.array(rgb))


class Features:
    """Tapped maps of one data set, rounded to bf16, cached; patch features are made from them on demand."""

    def __init__(self, root, layout, weights, size, work, batch=8):
        with open(weights, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()[:12]
        name = os.path.basename(os.path.normpath(root))
        self.root, self.name, self.size = root, name, size
        self.folder = os.path.join(work, f"{name}-{size}-{digest}")
        self.items = list_dataset(root, layout)
        self.extract_seconds = 0.0
        if not os.path.exists(os.path.join(self.folder, "done")):
            self._extract(weights, batch)
        self.maps = [np.load(os.path.join(self.folder, tap + ".npy"), mmap_mode="r") for tap in TAPS]
        self.grid, self.small = self.maps[0].shape[1], self.maps[1].shape[1]
        self.patches = self.grid * self.grid
        self.upsample = Upsampler(self.small, self.grid)
        self.train = [i for i, item in enumerate(self.items) if item[1] == "train"]
        self.test = [i for i, item in enumerate(self.items) if item[1] == "test"]
        self.scale = self._measure_scale()

    def _extract(self, weights, batch):
        os.makedirs(self.folder, exist_ok=True)
        network, stores, start = ResNet(weights), None, time.perf_counter()
        for first in range(0, len(self.items), batch):
            chunk = self.items[first : first + batch]
            taps = network(torch.stack([load_photo(os.path.join(self.root, i[0]), self.size) for i in chunk]))
            if stores is None:
                stores = {
                    tap: np.lib.format.open_memmap(
                        os.path.join(self.folder, tap + ".npy"), "w+", np.int16, (len(self.items), *x.shape[1:])
                    )
                    for tap, x in taps.items()
                }
            for tap, x in taps.items():
                stores[tap][first : first + len(chunk)] = x.contiguous().bfloat16().view(torch.int16).numpy()
        for store in stores.values():
            store.flush()
        self.extract_seconds = time.perf_counter() - start
        with open(os.path.join(self.folder, "done"), "w") as file:
            json.dump({"seconds": self.extract_seconds, "images": len(self.items)}, file)

    def _map(self, tap, image):
        return torch.from_numpy(np.array(self.maps[tap][image])).view(torch.bfloat16).float()

    def halves(self, image):
        """([P, 768] of layer2, [p, 768] of layer3 before upsampling), scaled."""
        return pool_map(self._map(0, image)).mul_(self.scale), pool_map(self._map(1, image)).mul_(self.scale)

    def image(self, image):
        """[P, 1536]."""
        fine, coarse = self.halves(image)
        return torch.cat([fine, self.upsample(coarse)], 1)

    def _measure_scale(self):
        path = os.path.join(self.folder, "scale.json")
        if os.path.exists(path):
            with open(path) as file:
                return json.load(file)["scale"]
        self.scale = 1.0
        total = 0.0
        for image in self.train:
            total += self.image(image).double().square().mean().item()
        scale = TARGET_RMS / (total / len(self.train)) ** 0.5
        with open(path, "w") as file:
            json.dump({"scale": scale}, file)
        return scale


# -------------------------------------------------------------------------------------------------------------- metrics
def auroc(negatives, positives):
    """P(positive > negative) + P(equal) / 2, exact, ties included."""
    negatives = np.sort(negatives)
    below = np.searchsorted(negatives, positives, "left").sum(dtype=np.float64)
    upto = np.searchsorted(negatives, positives, "right").sum(dtype=np.float64)
    return float((below + upto) / 2 / len(negatives) / len(positives))


def score_map(scores, size, width, height):
    """[grid, grid] patch scores -> [height, width] of the original image."""
    patches = torch.from_numpy(np.ascontiguousarray(scores, np.float32))[None, None]
    large = F.interpolate(patches, size=(size, size), mode="bilinear", align_corners=False)[0, 0].numpy()
    sigma = 4.0 * size / 256.0
    smooth = scipy.ndimage.gaussian_filter(large, sigma, mode="reflect", truncate=4.0)
    smooth = torch.from_numpy(smooth)[None, None]
    return F.interpolate(smooth, size=(height, width), mode="bilinear", align_corners=False)[0, 0].numpy()


def evaluate(features, scores):
    """scores: {image index: [P] patch scores} of the test images -> image and pixel AUROC in percent."""
    image = {0: [], 1: []}
    inside, outside = [], []
    for index in features.test:
        path, _, label, mask_path = features.items[index]
        image[label].append(float(scores[index].max()))
        if mask_path:
            with Image.open(os.path.join(features.root, mask_path)) as picture:
                mask = np.array(picture.convert("L")) >= 128
        else:
            with Image.open(os.path.join(features.root, path)) as picture:
                mask = np.zeros((picture.height, picture.width), bool)
        grid = scores[index].reshape(features.grid, features.grid)
        values = score_map(grid, features.size, mask.shape[1], mask.shape[0])
        inside.append(values[mask])
        outside.append(values[~mask])
    return {
        "image_auroc": 100 * auroc(np.array(image[0]), np.array(image[1])),
        "pixel_auroc": 100 * auroc(np.concatenate(outside), np.concatenate(inside)),
    }


# --------------------------------------------------------------------------------------------------------- command line
def sgemm_gflops(n=768):
    """Speed of the BLAS behind torch.matmul at the current thread count."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    best = 0.0
    for _ in range(3):
        start = time.perf_counter()
        torch.matmul(a, b)
        best = max(best, 2.0 * n**3 / (time.perf_counter() - start) / 1e9)
    return best


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", help="folder of one data set")
    parser.add_argument("--layout", choices=["mvtec", "magnetic"], default="mvtec")
    parser.add_argument("--weights", help="safetensors file of the backbone")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", help="scratch folder for cached maps")
    parser.add_argument("--results", help="file to append each JSON line to, as well as printing it")
    return parser


def open_features(args):
    torch.set_num_threads(args.threads)
    return Features(args.data, args.layout, args.weights, args.size, args.work)


def report(args, features, values):
    line = {
        "dataset": features.name,
        "backbone": os.path.splitext(os.path.basename(args.weights))[0],
        "size": args.size,
        "threads": args.threads,
        "sgemm_gflops": round(sgemm_gflops(), 1),
        "feature_scale": features.scale,
        **values,
    }
    text = json.dumps(line)
    print(text, flush=True)
    if args.results:
        with open(args.results, "a") as file:
            file.write(text + "\n")


def check():
    """Independent slow forms against the fast ones."""
    generator = torch.Generator().manual_seed(1)
    for grid, small in ((32, 16), (56, 28), (9, 5)):
        fine = torch.rand(grid, grid, 512, generator=generator, dtype=torch.float64)
        coarse = torch.rand(small, small, 1024, generator=generator, dtype=torch.float64)
        literal = literal_patches(fine, coarse)
        up = Upsampler(small, grid)
        up.weight = up.weight.double()
        fast = torch.cat([pool_map(fine), up(pool_map(coarse))], 1)
        rows = torch.randperm(grid * grid, generator=generator)[:17]
        assert torch.equal(up(pool_map(coarse), rows), up(pool_map(coarse))[rows])
        worst = (fast - literal).abs().max().item()
        print(f"patch features, grid {grid} over {small}: max abs difference {worst:.2e}")
        assert worst < 1e-7  # the interpolation weights of odd grids are rounded to float
    random = np.random.default_rng(1)
    low, high = random.integers(0, 20, 200), random.integers(5, 25, 150)
    slow = np.mean([(p > n) + 0.5 * (p == n) for p in high for n in low])
    print(f"AUROC with ties: difference {abs(auroc(low, high) - slow):.2e}")
    assert abs(auroc(low, high) - slow) < 1e-12


def main():
    parser = arguments(__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.check:
        return check()
    features = open_features(args)
    report(args, features, {"method": "features", "images": len(features.items), "seconds": features.extract_seconds})


if __name__ == "__main__":
    main()
