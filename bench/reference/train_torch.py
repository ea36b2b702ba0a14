# SPDX-License-Identifier: Apache-2.0
"""One SimpleNet training step in eager PyTorch, timed: the shapes and the work of bench/bench_train.c.

16 images x 1,024 patches, true and noised, D 1536, K 1024: forward, backward, Adam. --dtype bf16 is torch.autocast.

  python3 train_torch.py [--runs 3] [--threads 2] [--dtype fp32|bf16]
"""
import argparse
import statistics
import time

import torch
import torch.nn.functional as F

PATCHES, WIDTH, HIDDEN, SIGMA = 16 * 1024, 1536, 1024, 0.015
GFLOP = 2e-9 * PATCHES * (2 * WIDTH * WIDTH + 5 * HIDDEN * WIDTH)  # what a step must do; PyTorch does 464


def make():
    adaptor = torch.nn.Linear(WIDTH, WIDTH, bias=False)
    discriminator = torch.nn.Sequential(
        torch.nn.Linear(WIDTH, HIDDEN, bias=False),
        torch.nn.BatchNorm1d(HIDDEN),
        torch.nn.LeakyReLU(0.2),
        torch.nn.Linear(HIDDEN, 1, bias=False),
    )
    optimisers = [torch.optim.Adam(adaptor.parameters(), 1e-4), torch.optim.Adam(discriminator.parameters(), 2e-4)]
    return adaptor, discriminator, optimisers


def step(adaptor, discriminator, optimisers, o, bf16):
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        q = adaptor(o)
        scores = discriminator(torch.cat([q, q + torch.randn(q.shape) * SIGMA]))[:, 0]
    scores = scores.float()
    loss = F.relu(0.5 - scores[:PATCHES]).mean() + F.relu(scores[PATCHES:] + 0.5).mean()
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()
    for optimiser in optimisers:
        optimiser.step()
    return loss.item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    parts = make()
    o = torch.randn(PATCHES, WIDTH) * 0.245
    times = []
    for run in range(args.runs + 1):  # the first one warms up
        start = time.perf_counter()
        step(*parts, o, args.dtype == "bf16")
        if run > 0:
            times.append(1e3 * (time.perf_counter() - start))
    ms = statistics.median(times)
    print(f"torch {torch.__version__} {args.dtype} {ms:9.1f} ms  {1e3 * GFLOP / ms:7.1f} GFLOP/s of the {GFLOP:.0f} needed")


if __name__ == "__main__":
    main()
