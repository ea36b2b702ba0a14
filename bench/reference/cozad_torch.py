# SPDX-License-Identifier: Apache-2.0
"""One CoZAD meta-step (docs/math.md sections 3 to 6) in eager PyTorch: time of plain, first-order and exact steps.

Same sizes and the same work as bench/bench_meta.c: T tasks of 16 images (12 support, 4 query) x 128 patches, D 1536,
K 1024, soft-confident weights from a full window, contrastive loss in chunks of 256. Features are random. Exact is
autograd through the inner loop (create_graph). PyTorch is only as fast as its BLAS (see common.py): its measured speed
is printed. On Debian, with libopenblas0-pthread, the second line picks it.

  python3 cozad_torch.py --threads 2 --runs 3
  LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/openblas-pthread python3 cozad_torch.py
"""
import argparse
import statistics
import time

import torch
import torch.nn.functional as F

import common

HIDDEN, SIGMA, IMAGES, QUERY, PATCHES, WINDOW = 1024, 0.015, 16, 4, 128, 65536
KAPPA, FLOOR = 1.5, 1e-3
CHUNK, KNN, TEMPERATURE, LAMBDA_CONT = 256, 5, 0.1, 1.0
LAMBDA0, GAMMA, PAIRS, ALPHA = 5e-6, 1.0, 10, 3e-3
MATRICES = (0, 1, 4)


def parameters(width, generator):
    """[A, W1, scale, shift, w2]"""

    def xavier(*shape):
        return torch.randn(shape, generator=generator) * (2.0 / (shape[0] + shape[1])) ** 0.5

    theta = [xavier(width, width), xavier(HIDDEN, width), torch.ones(HIDDEN), torch.zeros(HIDDEN), xavier(1, HIDDEN)]
    return [p.requires_grad_() for p in theta]


def quantile(values, share):
    at = share * (len(values) - 1)
    low = int(at)
    return torch.lerp(values[low], values[min(low + 1, len(values) - 1)], at - low)


@torch.no_grad()
def weights(scores, window):
    """Eq. 5 and 6, anchored at the median."""
    ordered = torch.cat([window, scores]).sort().values
    q1, median, q3 = (quantile(ordered, share) for share in (0.25, 0.5, 0.75))
    tau = q3 + KAPPA * (q3 - q1) - median
    a = scores - median
    return torch.where(a <= tau, torch.ones_like(a), (tau / a).clamp(min=FLOOR))


def contrastive(q, generator):
    """Eq. 2 over shuffled chunks; sizes here are multiples of the chunk."""
    rows = torch.randperm(len(q), generator=generator)
    twin = q + torch.randn(q.shape, generator=generator) * SIGMA
    unit, other = (F.normalize(x, dim=1, eps=1e-8)[rows].reshape(-1, CHUNK, q.shape[1]) for x in (q, twin))
    similar = unit @ unit.transpose(1, 2) / TEMPERATURE
    itself = (unit * other).sum(2, keepdim=True) / TEMPERATURE
    similar = similar.masked_fill(torch.eye(CHUNK, dtype=torch.bool), -torch.inf)
    near = similar.detach().topk(KNN, dim=2).indices
    positives = torch.cat([itself, similar.gather(2, near)], 2)
    everything = torch.cat([itself, similar], 2)  # the neighbours are among the rows
    return (torch.logsumexp(everything, 2) - torch.logsumexp(positives, 2)).mean()


def objective(theta, o, window, generator):
    """(L_total without the L2 term, unweighted mean L_AD)"""
    a, w1, scale, shift, w2 = theta
    q = o @ a.t()
    noise = torch.randn(q.shape, generator=generator) * SIGMA
    h = torch.cat([q, q + noise]) @ w1.t()
    h = F.batch_norm(h, None, None, scale, shift, True, 0.1, 1e-5)
    d = (F.leaky_relu(h, 0.2) @ w2.t())[:, 0]
    first, second = F.relu(0.5 - d[: len(o)]), F.relu(d[len(o) :] + 0.5)
    w = weights(-d[: len(o)].detach(), window)
    loss = (w * first + second).mean() + LAMBDA_CONT * contrastive(q, generator)
    return loss, (first + second).detach().mean().item()


def norm(theta):
    return sum(theta[i].square().sum() for i in MATRICES)


class Uncertainty:
    """Eq. 8 and 9."""

    def __init__(self):
        self.pairs, self.scale = [], None

    def push(self, *pair):
        self.pairs.append(torch.tensor(pair, dtype=torch.float64))
        if len(self.pairs) == PAIRS:
            self.scale = torch.stack(self.pairs).std(0).clamp(min=1e-8)

    def value(self):
        if self.scale is None:
            return LAMBDA0
        last = torch.stack(self.pairs[-PAIRS:]) / self.scale
        return LAMBDA0 * (1 + GAMMA * torch.linalg.det(torch.cov(last.t())).clamp(0, 100).item())


def plain_step(theta, tasks, window, uncertainty, generator):
    losses, ads = [], []
    for support, query in tasks:
        loss, ad = objective(theta, torch.cat([support, query]), window, generator)
        losses.append(torch.autograd.grad(loss / len(tasks), theta))
        ads.append(ad)
    uncertainty.push(sum(ads), sum(ads))
    decay = torch.autograd.grad(uncertainty.value() * norm(theta), theta, allow_unused=True)
    return [sum(parts) + (0 if d is None else d) for parts, d in zip(zip(*losses), decay)]


def meta_step(theta, tasks, window, uncertainty, generator, exact):
    """exact keeps the graph of every task until lambda of this step is known."""
    lam, first, second, queries, ends = uncertainty.value(), [], [], [], []
    for support, query in tasks:
        loss, ad = objective(theta, support, window, generator)
        slopes = torch.autograd.grad(loss + lam * norm(theta), theta, create_graph=exact)
        adapted = [p - ALPHA * g for p, g in zip(theta, slopes)]
        if not exact:
            adapted = [p.detach().requires_grad_() for p in adapted]
        loss, after = objective(adapted, query, window, generator)
        queries.append(loss)
        ends.append(adapted)
        first.append(ad)
        second.append(after)
    uncertainty.push(sum(first) / len(tasks), sum(second) / len(tasks))
    lam, total = uncertainty.value(), [torch.zeros_like(p) for p in theta]
    for index in range(len(tasks)):
        loss = (queries[index] + lam * norm(ends[index])) / len(tasks)
        for sum_, g in zip(total, torch.autograd.grad(loss, theta if exact else ends[index])):
            sum_ += g
        queries[index] = ends[index] = None
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--width", type=int, default=common.PATCH_WIDTH)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    theta, uncertainty = parameters(args.width, generator), Uncertainty()
    window = torch.randn(WINDOW, generator=generator)
    draw = lambda images: torch.randn(images * PATCHES, args.width, generator=generator) * common.TARGET_RMS
    tasks = [(draw(IMAGES - QUERY), draw(QUERY)) for _ in range(args.tasks)]
    steps = {
        "off": lambda: plain_step(theta, tasks, window, uncertainty, generator),
        "first-order": lambda: meta_step(theta, tasks, window, uncertainty, generator, False),
        "exact": lambda: meta_step(theta, tasks, window, uncertainty, generator, True),
    }
    speed = f"matrix products {common.sgemm_gflops():.1f} GFLOP/s"
    print(f"torch {torch.__version__}, {args.threads} threads, {speed}", flush=True)
    times = {name: [] for name in steps}
    for _ in range(args.runs):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(1e3 * (time.perf_counter() - start))
    for name, values in times.items():
        print(f"{name:<12} {statistics.median(values):9.1f} ms  (median of {len(values)})")
    print(f"exact / first-order {statistics.median(times['exact']) / statistics.median(times['first-order']):.2f}")


if __name__ == "__main__":
    main()
