#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes parity/files/simplenet.safetensors and unit/files/adam.safetensors with PyTorch (made with 1.13).

Inputs are hashes of their names (hashweights.py), which the tests compute again: only results are stored.
"""
import os

import numpy as np
import torch
import torch.nn.functional as F

import hashweights
import safetensors_py

HERE = os.path.dirname(os.path.abspath(__file__))
D, K, P, STEPS = 24, 16, 60, 20
NOISE = 0.015 * 3**0.5  # a uniform of standard deviation 0.015


def save(path, tensors):
    safetensors_py.save(path, {name: t.detach().numpy().astype(np.float32) for name, t in tensors.items()})


def given(name, shape, scale=1.0):
    values = hashweights.uniform(hashweights.name_hash(name), int(np.prod(shape)))
    return torch.from_numpy((values * np.float32(scale)).reshape(shape))


class SimpleNet(torch.nn.Module):
    def __init__(self, compat):
        super().__init__()
        self.adaptor = torch.nn.Linear(D, D, bias=compat)
        self.hidden = torch.nn.Linear(D, K, bias=compat)
        self.norm = torch.nn.BatchNorm1d(K)
        self.output = torch.nn.Linear(K, 1, bias=False)
        with torch.no_grad():
            self.adaptor.weight.copy_(given("adaptor.weight", (D, D), 0.35))
            self.hidden.weight.copy_(given("hidden.weight", (K, D), 0.4))
            self.output.weight.copy_(given("output.weight", (1, K), 0.6))
            self.norm.weight.copy_(1 + given("norm.scale", (K,), 0.3))
            self.norm.bias.copy_(given("norm.shift", (K,), 0.2))
            if compat:
                self.adaptor.bias.copy_(given("adaptor.bias", (D,), 0.2))
                self.hidden.bias.copy_(given("hidden.bias", (K,), 0.2))

    def forward(self, o, eps):
        q = self.adaptor(o)
        y = F.leaky_relu(self.norm(self.hidden(torch.cat([q, q + eps]))), 0.2)
        d = self.output(y)[:, 0]
        return q, d[: len(o)], d[len(o) :]

    def theta(self, of):
        """One flat vector in the library's order."""
        parts = [self.adaptor.weight, self.adaptor.bias, self.hidden.weight, self.hidden.bias]
        parts += [self.norm.weight, self.norm.bias, self.output.weight]
        return torch.cat([of(p).reshape(-1) for p in parts if p is not None])


def batch(step):
    return given(f"o.{step}", (P, D)) + 0.3, given(f"eps.{step}", (P, D), NOISE)


def loss_of(d, noised, w):
    return (w * (0.5 - d).clamp(min=0)).mean() + (noised + 0.5).clamp(min=0).mean()


def simplenet(compat, out):
    tag = "compat" if compat else "plain"
    net = SimpleNet(compat)
    o, eps = batch(0)
    q, d, noised = net(o, eps)
    w = 0.6 + given("weight", (P,), 0.4)
    (loss_of(d, noised, w) + (given("inject", (P, D), 0.01) * q).sum()).backward()
    out[f"{tag}.score"] = -d
    out[f"{tag}.grads"] = net.theta(lambda p: p.grad)

    net = SimpleNet(compat)
    theta1 = list(net.adaptor.parameters())
    theta2 = [p for n, p in net.named_parameters() if not n.startswith("adaptor")]
    if compat:
        optimisers = [torch.optim.AdamW(theta1, 1e-4, weight_decay=1e-2), torch.optim.Adam(theta2, 2e-4, weight_decay=1e-5)]
    else:
        optimisers = [torch.optim.Adam(theta1, 1e-4), torch.optim.Adam(theta2, 2e-4)]
    losses = []
    for step in range(STEPS):
        o, eps = batch(step)
        _, d, noised = net(o, eps)
        loss = loss_of(d, noised, torch.ones(P))
        for opt in optimisers:
            opt.zero_grad()
        loss.backward()
        for opt in optimisers:
            opt.step()
        losses.append(loss.detach())
    out[f"{tag}.losses"] = torch.stack(losses)
    out[f"{tag}.theta"] = net.theta(lambda p: p.detach())
    out[f"{tag}.mean"] = net.norm.running_mean
    out[f"{tag}.var"] = net.norm.running_var
    net.eval()
    _, d, _ = net(*batch(0))
    out[f"{tag}.eval_score"] = -d


def adam(out):
    n, steps = 101, 25
    for tag, make in {
        "adam": lambda p: torch.optim.Adam(p, 1e-3),
        "adam_decay": lambda p: torch.optim.Adam(p, 1e-3, weight_decay=1e-2),
        "adamw": lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=1e-2),
    }.items():
        p = torch.nn.Parameter(given("p", (n,)))
        opt = make([p])
        for step in range(steps):
            # every seventh parameter has gradients near Adam's epsilon, every eleventh none
            g = given(f"g.{step}", (n,))
            g[::7] *= 1e-8
            g[::11] = 0
            p.grad = g
            opt.step()
        out[tag] = p.detach().clone()


if __name__ == "__main__":
    torch.set_num_threads(1)
    results = {}
    for compat in (False, True):
        simplenet(compat, results)
    save(os.path.join(HERE, "files", "simplenet.safetensors"), results)
    results = {}
    adam(results)
    save(os.path.join(HERE, "..", "unit", "files", "adam.safetensors"), results)
