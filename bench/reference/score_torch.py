#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole scoring path of SimpleNet in PyTorch, stage by stage, as the public SimpleNet code computes it: from the network's
normalised input to a map at the input's size. Needs torch, numpy, scipy.

  score_torch.py --weights FOLDED.safetensors [--threads 2] [--batch 1] [--repeat 15]
  score_torch.py --serve … answers lines on stdin, for `cozad bench --against pytorch`

Stages: backbone (eager, fp32, batch norm folded, which the public code does not do: to PyTorch's advantage); patchify (3x3 unfold of
each map, bilinear upsampling of the later map's unfolded cells, two adaptive average poolings); adaptor; discriminator; map (bilinear
upsampling, scipy's Gaussian). The head's weights are random: they make no difference to the time. Reading and resizing the photo are
left out, also to PyTorch's advantage. A matrix product is as fast as torch's BLAS: `sgemm` says how fast.
"""
import argparse
import statistics
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

import common

WIDTH = 1536
STAGES = ("backbone", "patchify", "adaptor", "discriminator", "map")


class Backbone:
    """Stem to layer3, bottleneck or basic blocks, from weights folded by cozad (NAME.weight, NAME.bias)."""

    def __init__(self, path):
        tensors, metadata = common.read_safetensors(path)
        self.weights = {name: torch.from_numpy(np.array(values)) for name, values in tensors.items()}
        self.msra = "conv1" in metadata.get("stride_in", "")
        self.ceil = "ceil_mode" in metadata.get("stem_pool", "")

    def conv(self, x, name, stride=1):
        weight = self.weights[name + ".weight"]
        return F.conv2d(x, weight, self.weights[name + ".bias"], stride=stride, padding=weight.shape[2] // 2)

    def block(self, x, name, stride):
        bottleneck = name + ".conv3.weight" in self.weights
        first, middle = (stride, 1) if self.msra or not bottleneck else (1, stride)
        y = self.conv(x, name + ".conv1", first).relu_()
        y = self.conv(y, name + ".conv2", middle)
        if bottleneck:
            y = self.conv(y.relu_(), name + ".conv3")
        if name + ".downsample.0.weight" in self.weights:
            x = self.conv(x, name + ".downsample.0", stride)
        return y.add_(x).relu_()

    def __call__(self, x):
        x = self.conv(x, "conv1", 2).relu_()
        x = F.max_pool2d(x, 3, 2, 0 if self.ceil else 1, ceil_mode=self.ceil)
        taps = {}
        for stage in (1, 2, 3):
            count = len({n.split(".")[1] for n in self.weights if n.startswith(f"layer{stage}.")})
            for index in range(count):
                x = self.block(x, f"layer{stage}.{index}", 2 if index == 0 and stage > 1 else 1)
            taps[f"layer{stage}"] = x
        return {tap: taps[tap] for tap in common.TAPS}


class SimpleNet:
    def __init__(self, weights, hidden):
        torch.manual_seed(1)
        self.backbone = Backbone(weights)
        self.adaptor = torch.nn.Linear(WIDTH, WIDTH)
        self.body = torch.nn.Sequential(
            torch.nn.Linear(WIDTH, hidden), torch.nn.BatchNorm1d(hidden), torch.nn.LeakyReLU(0.2)
        )
        self.tail = torch.nn.Linear(hidden, 1, bias=False)
        self.body.eval()

    def patchify(self, taps):
        """[N * P, 1536], by the steps and in the shapes of the public code."""
        grid, parts = None, []
        for x in taps.values():
            n, channels, h, w = x.shape
            cells = F.unfold(x, 3, padding=1).reshape(n, channels, 3, 3, h * w).permute(0, 4, 1, 2, 3)
            if grid is None:
                grid = (h, w)
            else:
                cells = cells.reshape(n, h, w, channels, 3, 3).permute(0, 3, 4, 5, 1, 2)
                shape = cells.shape
                cells = cells.reshape(-1, h, w)
                cells = F.interpolate(cells.unsqueeze(1), size=grid, mode="bilinear", align_corners=False).squeeze(1)
                cells = cells.reshape(*shape[:-2], *grid).permute(0, 4, 5, 1, 2, 3)
            parts.append(cells.reshape(n * grid[0] * grid[1], channels, 3, 3))
        pooled = [F.adaptive_avg_pool1d(part.reshape(len(part), 1, -1), WIDTH).squeeze(1) for part in parts]
        stacked = torch.stack(pooled, dim=1).reshape(len(pooled[0]), 1, -1)
        return F.adaptive_avg_pool1d(stacked, WIDTH).reshape(len(stacked), -1), grid

    def score(self, patches, grid, size):
        """Maps [N, H, W] and image scores."""
        scores = -self.tail(patches).reshape(-1, 1, *grid)
        image = scores.reshape(len(scores), -1).max(dim=1).values
        large = F.interpolate(scores, size=size, mode="bilinear", align_corners=False).squeeze(1).numpy()
        return [ndimage.gaussian_filter(one, sigma=4) for one in large], image

    @torch.no_grad()
    def run(self, images):
        """Milliseconds of each stage for one batch."""
        at = [time.perf_counter()]
        taps = self.backbone(images)
        at.append(time.perf_counter())
        patches, grid = self.patchify(taps)
        at.append(time.perf_counter())
        patches = self.adaptor(patches)
        at.append(time.perf_counter())
        patches = self.body(patches)
        at.append(time.perf_counter())
        self.score(patches, grid, tuple(images.shape[2:]))
        at.append(time.perf_counter())
        return [(after - before) * 1e3 for before, after in zip(at, at[1:])]


def literal_check(net):
    """The steps above against common.literal_patches, written from the formulas."""
    taps = {"layer2": torch.randn(1, 512, 8, 8), "layer3": torch.randn(1, 1024, 4, 4)}
    patches, _ = net.patchify(taps)
    wanted = common.literal_patches(taps["layer2"][0].permute(1, 2, 0), taps["layer3"][0].permute(1, 2, 0))
    return ((patches - wanted).square().sum() / wanted.square().sum()).sqrt().item()


def serve(net, images, reference):
    for line in sys.stdin:
        verb, *words = line.rstrip("\n").split("\t")
        try:
            if verb == "version":
                text = f"{torch.__version__} (sgemm {common.sgemm_gflops():.0f} GFLOP/s)"
            elif verb == "check":
                with torch.no_grad():
                    taps = net.backbone(images)
                worst = 0.0
                for name, values in taps.items():
                    wanted = torch.from_numpy(reference[name])[torch.arange(len(images)) % len(reference[name])]
                    worst = max(worst, ((values - wanted).square().sum() / wanted.square().sum()).sqrt().item())
                text = f"{max(worst, literal_check(net)):.6e}"
            elif verb == "run":
                text = " ".join(f"{sum(net.run(images)):.4f}" for _ in range(int(words[1])))
            else:
                text = f"error unknown command {verb}"
        except Exception as error:  # the other side reads lines, no tracebacks
            text = "error " + " ".join(str(error).split())
        print(text, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="as cz_backbone_save writes them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--hidden-width", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--reference", help="safetensors with input, layer2, layer3")
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    speed = common.sgemm_gflops()
    if speed < 10 * args.threads:
        print(f"score_torch: torch's matrix products reach {speed:.0f} GFLOP/s: install an optimised BLAS (bench/setup does)", file=sys.stderr)
    net = SimpleNet(args.weights, args.hidden_width)
    reference = {}
    images = torch.randn(args.batch, 3, args.size, args.size)
    if args.reference:
        reference = {name: np.array(values) for name, values in common.read_safetensors(args.reference)[0].items()}
        images = torch.from_numpy(reference["input"])[torch.arange(args.batch) % len(reference["input"])].contiguous()
    if args.serve:
        serve(net, images, reference)
        return
    net.run(images)
    runs = [net.run(images) for _ in range(args.repeat)]
    print(f"torch {torch.__version__}, {args.threads} threads, batch {args.batch}, sgemm {common.sgemm_gflops():.0f} GFLOP/s")
    for index, name in enumerate(STAGES):
        print(f"  {name:14} {statistics.median(run[index] for run in runs) / args.batch:8.2f} ms an image")
    print(f"  {'total':14} {statistics.median(sum(run) for run in runs) / args.batch:8.2f} ms an image")


if __name__ == "__main__":
    main()
