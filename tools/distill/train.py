# SPDX-License-Identifier: Apache-2.0
"""Distils the student from the shards that shards.py has made, also while it is still making them.

    python3 train.py --work FOLDER --until 2026-01-01T12:00Z        # schedule by the clock
    python3 train.py --work FOLDER --steps 20000                    # schedule by steps: repeatable

The student's layer2 and layer3 maps go through one 1x1 convolution each (the heads, thrown away at the end) and regress
the teacher's reduced maps: smooth L1 on the whitened components, weighted by the square root of their variances, plus
one minus the cosine between the two cells' weighted vectors. AdamW, batches of 16, a cosine schedule down to 0, an
exponential moving average of the weights, batch norm in training mode, bfloat16 convolutions.

FOLDER/checkpoint.pt is written every two minutes and on SIGTERM, and a start goes on from it; FOLDER/log.jsonl has the
figures. With --steps the batches depend on the seed and the shards alone; with --until also on the machine's speed.
"""

import argparse
import copy
import datetime
import glob
import json
import math
import os
import signal
import sys
import time

import numpy as np
import torch
from torch import nn

import export
from shards import KEEP, SCALE, SHARD, Basis
from student import WIDTHS, Student

BATCH = 16
PEAK, DECAY, WARM = 2e-3, 2e-2, 0.02  # learning rate, weight decay, fraction of the schedule that warms up
AVERAGE, EVERY = 0.999, 4  # a step's share of the moving average, which moves every few steps
COSINE = 0.5  # weight of the cosine term
MAPS = tuple(KEEP)


class Data:
    """Shards as memory maps; new ones are taken in by refresh()."""

    def __init__(self, work):
        self.work, self.shards, self.uses = work, [], np.zeros(0)

    def refresh(self):
        for path in sorted(glob.glob(f"{self.work}/shards/*.x.npy"))[len(self.shards):]:
            stem = path[:-len(".x.npy")]
            self.shards.append([np.load(path, mmap_mode="r")] +
                               [np.load(f"{stem}.{name}.npy", mmap_mode="r") for name in MAPS])
        self.uses = np.concatenate([self.uses, np.zeros(len(self.shards) - len(self.uses))])

    def batch(self, rng):
        """BATCH crops, from the shards that have been used least first."""
        chance = 1 / (1 + self.uses / SHARD) ** 2
        shard = rng.choice(len(self.shards), BATCH, p=chance / chance.sum())
        np.add.at(self.uses, shard, 1)
        rows = rng.integers(0, SHARD, BATCH)
        return tensors([np.stack([self.shards[s][part][r] for s, r in zip(shard, rows)]) for part in range(3)])


def tensors(arrays):
    """uint8 crops and int8 maps [N, H, W, C] -> the student's input and {map: target}, float32 [N, C, H, W]."""
    x = export.normalised(arrays[0])
    return x, {name: torch.from_numpy(a).permute(0, 3, 1, 2).float() * (1 / SCALE) for name, a in zip(MAPS, arrays[1:])}


class Model(nn.Module):
    """The student and its heads."""

    def __init__(self):
        super().__init__()
        self.student = Student()
        self.heads = nn.ModuleDict({name: nn.Conv2d(width, KEEP[name], 1) for name, width in zip(MAPS, WIDTHS[1:])})

    def forward(self, x):
        return {name: self.heads[name](values).float() for name, values in zip(MAPS, self.student(x))}


def weights_of(basis):
    """{map: [1, keep, 1, 1]} with mean 1: the square roots of the components' variances."""
    out = {}
    for name in MAPS:
        root = np.sqrt(basis.values[f"{name}.variance"])
        out[name] = torch.from_numpy((root / root.mean()).astype(np.float32)).view(1, -1, 1, 1)
    return out


def loss_of(out, target, weight):
    """(loss, gradient with respect to out) of one map, [N, C, H, W] float32. By hand: autograd takes thrice as long.

    loss = mean w smooth_l1(out - target) + COSINE mean over cells of 1 - cos(sqrt(w) out, sqrt(w) target)
    """
    n, c, h, w = out.shape
    apart = out - target
    slope = apart.clamp(-1, 1)  # smooth_l1 = slope (apart - slope / 2), its derivative is slope
    gradient = slope * (weight / out.numel())
    loss = float((gradient * apart.sub_(slope, alpha=0.5)).sum())
    weighted = target * weight
    dot = (out * weighted).sum(1, keepdim=True)
    ours = (out * out * weight).sum(1, keepdim=True).clamp_min_(1e-6)
    theirs = (target * weighted).sum(1, keepdim=True).clamp_min_(1e-6)
    share = COSINE / (n * h * w)
    scale = share * (ours * theirs).rsqrt()
    loss += COSINE - float((dot * scale).sum())
    gradient.addcmul_(weighted, -scale).addcmul_(out * weight, scale * dot / ours)
    return loss, gradient


def explained(model, work, kind, weights, count=128):
    """{map: fraction of the target's weighted energy that is explained}, or {} without that validation set."""
    if not os.path.exists(f"{work}/{kind}.x.npy"):
        return {}
    arrays = [np.load(f"{work}/{kind}.{part}.npy", mmap_mode="r")[:count] for part in ("x",) + MAPS]
    missed, energy = {name: 0.0 for name in MAPS}, {name: 0.0 for name in MAPS}
    model.eval()
    with torch.no_grad():
        for first in range(0, len(arrays[0]), BATCH):
            x, targets = tensors([np.array(a[first:first + BATCH]) for a in arrays])
            with torch.autocast("cpu", dtype=torch.bfloat16):
                outputs = model(x)
            for name in MAPS:
                missed[name] += float(((outputs[name] - targets[name]) ** 2 * weights[name]).sum())
                energy[name] += float((targets[name] ** 2 * weights[name]).sum())
    return {name: round(1 - missed[name] / energy[name], 4) for name in MAPS}


class Run:
    """What a checkpoint holds."""

    def __init__(self, options):
        torch.manual_seed(options.seed)
        self.options, self.path = options, f"{options.work}/checkpoint.pt"
        self.model = Model().to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model)
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY},
                                            {"params": plain, "weight_decay": 0}], PEAK)
        self.step, self.begin, self.uses = 0, time.time(), np.zeros(0)
        if os.path.exists(self.path):
            state = torch.load(self.path)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.begin, self.uses = state["step"], state["begin"], state["uses"]

    def save(self, uses):
        state = {"model": self.model.state_dict(), "average": self.average.state_dict(), "step": self.step,
                 "optimiser": self.optimiser.state_dict(), "begin": self.begin, "uses": uses}
        torch.save(state, f"{self.path}.tmp")
        os.replace(f"{self.path}.tmp", self.path)

    def fraction(self):
        if self.options.steps:
            return self.step / self.options.steps
        return (time.time() - self.begin) / (self.options.until - self.begin)

    def train_step(self, data, weights):
        part = min(self.fraction(), 1)
        rate = PEAK * min(1, part / WARM + 0.02) * (0.5 + 0.5 * math.cos(math.pi * part))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        x, targets = data.batch(np.random.default_rng([self.options.seed, self.step]))
        self.model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = self.model(x)
        with torch.no_grad():
            losses, gradients = zip(*(loss_of(outputs[name], targets[name], weights[name]) for name in MAPS))
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward([outputs[name] for name in MAPS], gradients)
        self.optimiser.step()
        self.step += 1
        if self.step % EVERY == 0:
            self.follow()
        return sum(losses), rate

    def follow(self):
        """Moves the average towards the weights."""
        keep = min(AVERAGE, (1 + self.step) / (10 + self.step)) ** EVERY
        with torch.no_grad():
            for mine, theirs in zip(self.average.state_dict().values(), self.model.state_dict().values()):
                if mine.is_floating_point():
                    mine.lerp_(theirs, 1 - keep)


def clock(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--work", required=True, help="shards.py's folder")
    parser.add_argument("--until", type=clock, help="the end, as 2026-01-01T12:00Z")
    parser.add_argument("--steps", type=int, help="or: so many steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", help="the file to export at the end (FOLDER/builtin.safetensors)")
    options = parser.parse_args()
    if bool(options.until) == bool(options.steps):
        sys.exit("one of --until and --steps expected")
    return options


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    data = Data(options.work)
    while not data.shards:
        data.refresh()
        time.sleep(0 if data.shards else 5)
    weights = weights_of(Basis(f"{options.work}/basis.npz"))
    run = Run(options)
    data.refresh()
    data.uses[:len(run.uses)] = run.uses[:len(data.uses)]
    losses, saved, measured = [], time.time(), 0.0
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    with open(f"{options.work}/log.jsonl", "a", buffering=1) as log:
        while run.fraction() < 1:
            loss, rate = run.train_step(data, weights)
            losses.append(loss)
            if run.step % 100 == 0:
                data.refresh()
                entry = {"step": run.step, "seconds": round(time.time() - run.begin, 1), "rate": round(rate, 6),
                         "loss": round(float(np.mean(losses)), 4), "crops": len(data.shards) * SHARD,
                         "cpu": round(time.process_time(), 1)}
                losses = []
                if time.time() - measured > 480 or run.fraction() >= 1:
                    measured = time.time()
                    for kind in ("validation", "photos"):
                        entry[kind] = explained(run.average, options.work, kind, weights)
                log.write(json.dumps(entry) + "\n")
            if stop or time.time() - saved > 120:
                run.save(data.uses)
                saved = time.time()
            if stop:
                sys.exit("stopped; the next start goes on from here")
        run.save(data.uses)
        out = options.out or f"{options.work}/builtin.safetensors"
        export.write(run.average.student, options.work, out)
        entry = {"step": run.step, "seconds": round(time.time() - run.begin, 1), "final": True}
        for kind in ("validation", "photos"):
            entry[kind] = explained(run.average, options.work, kind, weights, 384)
        log.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    main()
