#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes parity/files/flow.safetensors with PyTorch (made with 1.13): the flow of docs/math/flow.md in float64 with autograd.

Inputs are hashes of their names (hashweights.py), which the test computes again: only results are stored. The projection and
the permutations are made here from the counter rng (Philox4x32-10) and by a QR factorisation, independently of the
library's, and stored: models do not hold them, so they must never change. The script refuses a problem near a kink.
"""
import os

import numpy as np
import torch

import hashweights
import safetensors_py

HERE = os.path.dirname(os.path.abspath(__file__))
D, P, HIDDEN, BLOCKS, CLAMP, SEED = 24, 40, 12, 3, 1.9, 0xC0FFEE1234
CASES = {"plain": 0, "projected": 11}  # dimensions projected to; 0: none
INIT, PROJECTION, ORDER = 1, 1, 2
MASK = 0xFFFFFFFF


class Rng:
    """src/util/rng.h: stream (seed, purpose INIT, step, task)."""

    def __init__(self, step, task):
        self.key, self.counter, self.words = (SEED & MASK, SEED >> 32), [0, INIT << 24 | task, step, 0], []

    def u32(self):
        if not self.words:
            k0, k1 = self.key
            c = list(self.counter)
            for _ in range(10):
                p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
                c = [(p1 >> 32) ^ c[1] ^ k0, p1 & MASK, (p0 >> 32) ^ c[3] ^ k1, p0 & MASK]
                k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
            self.words = c
            self.counter[0] += 1
        return self.words.pop(0)

    def u64(self):
        return self.u32() | self.u32() << 32

    def uniform(self):
        return (self.u64() >> 11) * 2.0**-53

    def normal(self):
        u, v = 1.0 - self.uniform(), self.uniform()
        return np.sqrt(-2.0 * np.log(u)) * np.cos(2 * np.pi * v)

    def shuffle(self, n):
        items = list(range(n))
        for i in range(n - 1, 0, -1):
            j = self.u64() % (i + 1)  # rejection is left out: its probability is below 1e-17
            items[i], items[j] = items[j], items[i]
        return items


def projection(f):
    rows = np.array([[r.normal() for _ in range(D)] for r in (Rng(PROJECTION, i) for i in range(f))])
    q, upper = np.linalg.qr(rows.T)  # Gram-Schmidt's, up to signs
    return (q * np.sign(np.diag(upper))).T


def hashed(name, shape, scale=1.0, offset=0.0):
    """float64 of the same float32 arithmetic as the test's."""
    values = hashweights.uniform(hashweights.name_hash(name), int(np.prod(shape)))
    return torch.from_numpy((np.float32(offset) + values * np.float32(scale)).astype(np.float64).reshape(shape))


def unpack(theta, f):
    a, m, at, blocks = f - f // 2, f // 2, 0, []
    for _ in range(BLOCKS):
        block = []
        for shape in [(HIDDEN, a), (HIDDEN,), (2 * m, HIDDEN), (2 * m,)]:
            count = int(np.prod(shape))
            block.append(theta[at : at + count].reshape(shape))
            at += count
        blocks.append(block)
    return blocks


def flow(theta, x, mean, scale, order):
    """-log p(x) / F, z and log |det dz/dx|"""
    f, kink = x.shape[1], np.inf
    a, m = f - f // 2, f // 2
    y, log_det = (x - mean) / scale, -torch.log(scale).sum().expand(len(x))
    for (w1, b1, w2, b2), perm in zip(unpack(theta, f), order):
        y = y[:, perm]
        pre = y[:, :a] @ w1.T + b1
        kink = min(kink, pre.abs().min().item())
        out = torch.relu(pre) @ w2.T + b2
        s = CLAMP * 2 / np.pi * torch.atan(out[:, :m] / CLAMP)
        y = torch.cat([y[:, :a], y[:, a:] * torch.exp(s) + out[:, m:]], 1)
        log_det = log_det + s.sum(1)
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    return -(normal.log_prob(y).sum(1) + log_det) / f, y, log_det, kink


def case(tag, f, out):
    r = projection(f) if f else None
    f = f or D
    order = [Rng(ORDER, b).shuffle(f) for b in range(BLOCKS)]
    count = sum(v.numel() for block in unpack(torch.zeros(10**6), f) for v in block)
    theta = hashed(f"{tag}.theta", (count,), 0.5).requires_grad_()
    o = hashed(f"{tag}.o", (P, D), 1.5, 0.25)
    x = o @ torch.from_numpy(r).T if r is not None else o
    mean, scale = hashed(f"{tag}.mean", (f,), 0.5), hashed(f"{tag}.scale", (f,), 0.25, 1.0)
    w = hashed(f"{tag}.weight", (P,), 0.375, 0.625)
    score, z, log_det, kink = flow(theta, x, mean, scale, order)
    assert kink > 2e-6, f"{tag}: {kink:.1e} from a kink"
    loss = (w * score).mean()
    (grads,) = torch.autograd.grad(loss, theta, create_graph=True)
    (product,) = torch.autograd.grad(grads @ hashed(f"{tag}.v", (count,)), theta)
    results = {"score": score, "z": z, "log_det": log_det, "loss": loss.reshape(1), "grads": grads, "product": product}
    for name, value in results.items():
        out[f"{tag}.{name}"] = value.detach().numpy().astype(np.float64 if name == "log_det" else np.float32)
    out[f"{tag}.order"] = np.array(order, np.int32)
    if r is not None:
        out[f"{tag}.projection"] = r.astype(np.float32)
    print(f"{tag}: F {f}, {count} parameters, loss {loss.item():.4f}, nearest kink {kink:.1e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    results = {}
    for name, dimensions in CASES.items():
        case(name, dimensions, results)
    safetensors_py.save(os.path.join(HERE, "files", "flow.safetensors"), results)
