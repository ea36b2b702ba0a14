#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes files/tire.safetensors with PyTorch (made with 1.13): 20 training steps on real photos, and what they score.

MVTec 3D-AD "tire" (train/good, test/KIND), resnet50_msra, 256 x 256, D 1536, K 1024. Photos are in bytewise order of
their paths below the data set's folder. Everything that is drawn is a hash (hashweights.py: u(name)[i] in [-1, 1)),
which test_tire.c computes again, so that only results are stored:

  parameters  adaptor.weight [D, D], hidden.weight [K, D], output.weight [1, K] = u(own name) * sqrt(3) * F * Xavier's
              standard deviation sqrt(2 / (rows + columns)), F = 64, 64, 8; norm.scale 1, norm.shift 0
  choice      m of 0 ... n-1 by the name c: the first m steps of a Fisher-Yates shuffle of 0 ... n-1, where step i swaps
              entry i with entry i + floor((u(c)[i] + 1) / 2 * (n - i)) (in double); then ascending
  step s      16 training photos by the name "images.s"; of the j-th of them 128 patches of 32 x 32 by "patches.s.j"
  noise       element i of step s's [2048, D]: u("noise.s")[i] * sqrt(3) * 64 * 0.015: uniform; 64 as q has

Loss, Adam and rates: docs/math.md section 3. Batch norm's running statistics: a pass over every training patch at the
last parameters, where the noise enters by its expectation. Image score: the largest of its 1024 patch scores.

Why F: Adam's first step is rate * sign(gradient), so rounding decides the step of an element whose gradient is near
0, and steps that are large beside the weights amplify that. With F = 1 PyTorch does not agree with itself: the rows of
every batch in another order move elements by up to 4e-4 and the image AUROC by 0.4 points. Batch norm cancels a factor
of A and of W1, so F = 64 is the same network with relatively smaller steps; F = 8 for w2 spreads D beyond the margins,
so that the two terms of the loss do not cancel in the gradient. Another order then moves no parameter by more than 5e-5
(--check).

Large tensors are kept as 4096 samples (hashweights.sample_indices of their names). Nothing of the photos is stored.

  make_tire_goldens.py --data DIR/mvtec/tire --weights DIR/resnet50_msra.safetensors --work SCRATCH [--check]
"""
import argparse
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

import hashweights
import safetensors_py

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "bench", "reference"))
import common  # noqa: E402

D, K, STEPS, IMAGES, PATCHES = 1536, 1024, 20, 16, 128
FACTORS = {"adaptor": 64, "hidden": 64, "output": 8}
SIGMA = 64 * 0.015
RATES = {"adaptor": 1e-4, "discriminator": 2e-4}


def given(name, shape, scale):
    values = hashweights.uniform(hashweights.name_hash(name), int(np.prod(shape)))
    return torch.from_numpy((values * np.float32(scale)).reshape(shape))


def choose(name, n, count):
    parts = (hashweights.uniform(hashweights.name_hash(name), count).astype(np.float64) + 1) / 2
    items = list(range(n))
    for i in range(count):
        j = i + int(parts[i] * (n - i))
        items[i], items[j] = items[j], items[i]
    return sorted(items[:count])


class SimpleNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.adaptor = torch.nn.Linear(D, D, bias=False)
        self.hidden = torch.nn.Linear(D, K, bias=False)
        self.norm = torch.nn.BatchNorm1d(K)
        self.output = torch.nn.Linear(K, 1, bias=False)
        with torch.no_grad():
            for name, factor in FACTORS.items():
                weight = getattr(self, name).weight
                weight.copy_(given(name + ".weight", weight.shape, factor * (6.0 / sum(weight.shape)) ** 0.5))

    def discriminate(self, q):
        return self.output(F.leaky_relu(self.norm(self.hidden(q)), 0.2))[:, 0]


def train(net, features, photos, reverse):
    discriminator = [*net.hidden.parameters(), *net.norm.parameters(), *net.output.parameters()]
    optimisers = [
        torch.optim.Adam(net.adaptor.parameters(), RATES["adaptor"]),
        torch.optim.Adam(discriminator, RATES["discriminator"]),
    ]
    losses = []
    net.train()
    for step in range(STEPS):
        parts = []
        for slot, image in enumerate(choose(f"images.{step}", len(photos), IMAGES)):
            rows = choose(f"patches.{step}.{slot}", features.patches, PATCHES)
            parts.append(features.image(photos[image])[rows])
        o = torch.cat(parts)
        noise = given(f"noise.{step}", (IMAGES * PATCHES, D), SIGMA * 3**0.5)
        if reverse:  # the same batch, summed in another order
            o, noise = o.flip(0), noise.flip(0)
        q = net.adaptor(o)
        normal, synthetic = net.discriminate(torch.cat([q, q + noise])).chunk(2)
        loss = F.relu(0.5 - normal).mean() + F.relu(synthetic + 0.5).mean()
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        losses.append(loss.item())
        print(f"step {step}: loss {losses[-1]:.6f}", flush=True)
    return losses


@torch.no_grad()
def recompute_statistics(net, features, photos):
    """Mean and unbiased variance of W1 [q; q-] over all patches; noise adds sigma^2 |row of W1|^2 for q-."""
    composed = (net.hidden.weight @ net.adaptor.weight).t().contiguous()
    shift, count = None, 0
    total, squares = torch.zeros(K, dtype=torch.float64), torch.zeros(K, dtype=torch.float64)
    for image in photos:
        h = (features.image(image) @ composed).double()
        shift = h.mean(0) if shift is None else shift
        total += (h - shift).sum(0)
        squares += (h - shift).square().sum(0)
        count += len(h)
    mean = total / count
    variance = squares / count - mean.square() + 0.5 * SIGMA**2 * net.hidden.weight.double().square().sum(1)
    net.norm.running_mean.copy_(shift + mean)
    net.norm.running_var.copy_(variance * (2 * count) / (2 * count - 1))


@torch.no_grad()
def image_scores(net, features, photos):
    net.eval()
    return [(-net.discriminate(net.adaptor(features.image(image)))).max().item() for image in photos]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of the data set tire")
    parser.add_argument("--weights", required=True, help="resnet50_msra.safetensors")
    parser.add_argument("--work", required=True, help="scratch folder for cached maps")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--check", action="store_true", help="reverse every batch, compare, write nothing")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    features = common.Features(args.data, "mvtec", args.weights, 256, args.work)
    name_of = lambda image: os.fsencode(features.items[image][0])
    training, testing = sorted(features.train, key=name_of), sorted(features.test, key=name_of)
    net = SimpleNet()
    losses = train(net, features, training, args.check)
    recompute_statistics(net, features, training)
    scores = np.array(image_scores(net, features, testing), np.float32)
    labels = np.array([features.items[image][2] for image in testing], np.uint8)
    auroc = 100 * common.auroc(scores[labels == 0], scores[labels == 1])
    print(f"scale {features.scale:.9g}, {len(training)} + {len(testing)} photos, image AUROC {auroc:.4f} %")

    tensors = {
        "adaptor.weight": net.adaptor.weight,
        "hidden.weight": net.hidden.weight,
        "norm.scale": net.norm.weight,
        "norm.shift": net.norm.bias,
        "output.weight": net.output.weight,
        "norm.mean": net.norm.running_mean,
        "norm.var": net.norm.running_var,
    }
    tensors = {name: tensor.detach().numpy().reshape(-1) for name, tensor in tensors.items()}
    for name in ("adaptor.weight", "hidden.weight"):
        tensors[name] = tensors[name][hashweights.sample_indices(name, tensors[name].size)]
    tensors["losses"] = np.array(losses, np.float32)
    tensors["feature_scale"] = np.array([features.scale], np.float32)
    tensors["scores"] = scores
    tensors["auroc"] = np.array([auroc], np.float32)
    path = os.path.join(HERE, "files", "tire.safetensors")
    if not args.check:
        return safetensors_py.save(path, tensors)
    for name, want in safetensors_py.load(path)[0].items():
        print(f"{name}: largest difference {np.abs(tensors[name] - want).max():.2e}")


if __name__ == "__main__":
    main()
