#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes parity/files/meta.safetensors with PyTorch (made with 1.13): whole meta-steps of docs/math.md sections 3 to 6.

Inputs are hashes of their names (hashweights.py), which the test computes again: only results are stored. Everything is
float64; meta-gradients come from autograd through the inner loop. The script refuses to write a file that could not see
a missing Hessian (10 % of the gradient) or products in the wrong order (0.1 %), and a problem too near a kink or a tie.
"""
import os

import numpy as np
import torch
import torch.nn.functional as F

import hashweights
import safetensors_py

HERE = os.path.dirname(os.path.abspath(__file__))
D, K, TASKS, SUPPORT, ALL = 24, 16, 2, 40, 56
FIRST = [0, 8, 17, 25, 33, 40, 48, 56]  # rows of each image; five of support, two of query
SUPPORT_IMAGES = 5
CATEGORY = [[0, 1, 0, 1, 0, 0, 1], [1, 1, 0, 1, 0, 1, 1]]
SEED = 14
NOISE = 0.3
KAPPA, FLOOR, WARM = 0.5, 0.05, 4
CHUNK, KNN, TEMPERATURE, LAMBDA_CONT = 12, 3, 0.3, 0.5  # 40 rows: 12, 12, 16; 56 rows: 12, 12, 12, 12, 8
LAMBDA0, GAMMA, PAIRS = 1e-3, 0.5, 3
EARLIER = [(0.75, 1.25), (1.5, 0.875), (1.0, 1.125), (1.25, 1.5)]  # losses of earlier meta-steps
ALPHA = 0.05
VIEWS = [("adaptor.weight", (D, D), 0.35, 0), ("hidden.weight", (K, D), 0.4, 0), ("norm.scale", (K,), 0.3, 1)]
VIEWS += [("norm.shift", (K,), 0.2, 0), ("output.weight", (K,), 0.6, 0)]
MATRICES = (0, 1, 4)
BASE = {
    "gradient": "exact", "steps": 3, "alpha": ALPHA, "inner": True, "outer": True, "weigh": True, "image": False,
    "hard": False, "both": False, "sum": False, "decay_all": False, "gamma": GAMMA, "top": 1, "knn": KNN,
    "literal": False,
}
CASES = {
    "exact1": {"steps": 1},
    "exact3": {},
    "first1": {"gradient": "first", "steps": 1},
    "first3": {"gradient": "first"},
    "reptile3": {"gradient": "reptile"},
    "off": {"gradient": "off", "steps": 1},
    "inner": {"outer": False},
    "outer": {"inner": False},
    "plain": {"weigh": False, "gamma": 0.0},  # --scl off
    "noweight": {"weigh": False},
    "nocontrast": {"inner": False, "outer": False},
    "hard": {"hard": True},
    "sum": {"sum": True, "alpha": ALPHA / 40},
    "image": {"image": True, "top": 2},
    "both": {"both": True, "decay_all": True},
    "literal": {"literal": True},
    "knn0": {"knn": 0},
}


def hashed(name, shape, scale=1.0, offset=0.0):
    """float64 of the same float32 arithmetic as the test's."""
    values = hashweights.uniform(hashweights.name_hash(name, SEED), int(np.prod(shape)))
    return torch.from_numpy((np.float32(offset) + values * np.float32(scale)).reshape(shape)).double()


class Margins:
    """The nearest approach to anything that is not smooth, over all passes of a case."""

    def __init__(self):
        self.least = {}

    def see(self, what, values):
        value = float(values.abs().min()) if values.numel() else np.inf
        self.least[what] = min(self.least.get(what, np.inf), value)


def features(task):
    """[ALL, D]: a centre for each category, patches around it; some are odd."""
    rows = torch.empty(ALL, D, dtype=torch.float64)
    around, odd = hashed(f"o.{task}", (ALL, D), 0.5), hashed(f"odd.{task}", (ALL,))
    for image, category in enumerate(CATEGORY[task]):
        begin, end = FIRST[image], FIRST[image + 1]
        centre = hashed(f"centre.{category}", (D,))
        rows[begin:end] = (centre + around[begin:end]).float().double()
    return torch.where(odd[:, None] > 0.7, -rows, rows)


def noise(task, step, rows):
    """eps, delta, order; rows may be fewer than those of `all`."""
    eps, delta = (hashed(f"{kind}.{task}.{step}", (rows, D), NOISE) for kind in ("eps", "delta"))
    keys = hashweights.uniform(hashweights.name_hash(f"order.{task}.{step}", SEED), rows)
    return eps, delta, torch.from_numpy(np.argsort(keys, kind="stable"))


def split(theta):
    parts, at = [], 0
    for _, shape, _, _ in VIEWS:
        count = int(np.prod(shape))
        parts.append(theta[at : at + count].reshape(shape))
        at += count
    return parts


def weights(case, scores, images, categories, windows, margins):
    """Section 4: quartiles of the window and the set's own scores together, by category."""
    out = torch.ones_like(scores)
    for category in sorted(set(categories)):
        rows, own = [], []
        members = [i for i, c in enumerate(categories) if c == category]
        for image in members:
            part = scores[images[image] : images[image + 1]]
            rows.append(torch.arange(images[image], images[image + 1]))
            own.append(part.topk(case["top"]).values.mean()[None] if case["image"] else part)
        known = windows[category]
        if known[1] + len(members) < WARM:
            continue
        q1, median, q3 = np.percentile(torch.cat([known[0], *own]).numpy(), [25, 50, 75])
        tau = q3 + KAPPA * (q3 - q1)
        for index, score in zip(rows, own):
            if case["hard"]:
                margins.see("hard", score - tau)
                out[index] = (score <= tau).double()
            else:
                ratio = ((tau - median) / (score - median)).clamp(min=FLOOR)
                out[index] = torch.where(score - median <= tau - median, torch.ones_like(score), ratio)
    return out


def contrastive(case, q, delta, order, margins):
    """Section 5."""
    knn, total = case["knn"], 0.0
    starts = list(range(0, len(q), CHUNK))
    if len(starts) > 1 and len(q) - starts[-1] < knn + 2:
        starts.pop()
    unit = q / q.norm(dim=1, keepdim=True).clamp(min=1e-8)
    twin = q + delta
    twin = twin / twin.norm(dim=1, keepdim=True).clamp(min=1e-8)
    for begin, end in zip(starts, starts[1:] + [len(q)]):
        rows = order[begin:end]
        u = unit[rows]
        similar = u @ u.t() / TEMPERATURE
        itself = (u * twin[rows]).sum(1, keepdim=True) / TEMPERATURE
        for i in range(len(rows)):
            others = torch.tensor([j for j in range(len(rows)) if j != i])
            ranked = others[torch.argsort(similar[i, others].detach(), descending=True, stable=True)]
            near, far = ranked[:knn], ranked[knn:]
            if knn and len(far):
                margins.see("neighbours", (similar[i, near[-1]] - similar[i, far[0]]).detach() * TEMPERATURE)
            positive = torch.cat([itself[i], similar[i, near]])
            if case["literal"]:  # every row of the chunk, itself and the positives included
                every = torch.cat([similar[i, others], torch.full((1,), 1 / TEMPERATURE, dtype=torch.float64)])
                everything = torch.cat([positive, every])
            else:
                everything = torch.cat([positive, similar[i, far]])
            total = total + torch.logsumexp(everything, 0) - torch.logsumexp(positive, 0)
    return total / len(q)


def decay_norm(case, theta):
    parts = split(theta)
    return sum((p * p).sum() for i, p in enumerate(parts) if case["decay_all"] or i in MATRICES)


def objective(case, theta, data, with_contrast, lam, margins):
    """L_total and its terms; data: dict of o, eps, delta, order, images, categories, windows."""
    a, w1, scale, shift, w2 = split(theta)
    o, rows = data["o"], len(data["o"])
    q = o @ a.t()
    h = torch.cat([q, q + data["eps"]]) @ w1.t()
    mean, var = h.mean(0), h.var(0, unbiased=False)
    y = (h - mean) / torch.sqrt(var + 1e-5) * scale + shift
    d = F.leaky_relu(y, 0.2) @ w2
    first, second = 0.5 - d[:rows], d[rows:] + 0.5
    for what, values in (("leaky", y), ("hinge", torch.cat([first, second]))):
        margins.see(what, values.detach())
    first, second = first.clamp(min=0), second.clamp(min=0)
    w = torch.ones(rows, dtype=torch.float64)
    if case["weigh"]:
        w = weights(case, -d[:rows].detach(), data["images"], data["categories"], data["windows"], margins)
    loss = (w * first + (w if case["both"] else 1.0) * second).sum() / (1 if case["sum"] else rows)
    terms = {"ad": (first + second).mean().item(), "weighted": loss.item(), "contrast": 0.0}
    terms["mean_weight"], terms["share"] = w.mean().item(), (w < 1).double().mean().item()
    total = loss
    if with_contrast:
        contrast = contrastive(case, q, data["delta"], data["order"], margins)
        terms["contrast"] = contrast.item()
        total = total + LAMBDA_CONT * contrast
    terms["before_decay"] = total.item()
    if lam is not None:
        decay = lam * decay_norm(case, theta)
        total, terms["decay"] = total + decay, decay.item()
        terms["total"] = total.item()
    statistics = torch.cat([mean, var * (2 * rows) / (2 * rows - 1)]).detach()
    scores, each = -d[:rows].detach(), (first + second).detach()
    return total, {"terms": terms, "w": w, "scores": scores, "each": each, "statistics": statistics}


class Uncertainty:
    def __init__(self, gamma):
        self.pairs, self.gamma = list(EARLIER), gamma

    def det(self):
        scale = np.std(self.pairs[:PAIRS], axis=0, ddof=1)
        return min(max(np.linalg.det(np.cov(np.array(self.pairs[-PAIRS:]).T / scale[:, None], ddof=1)), 0.0), 100.0)

    def value(self):
        return LAMBDA0 * (1 + self.gamma * self.det())


def sets(case, task, step, which):
    """Data of one pass: which is support, query or all."""
    begin, end = {"support": (0, SUPPORT), "query": (SUPPORT, ALL), "all": (0, ALL)}[which]
    first, last = {"support": (0, 5), "query": (5, 7), "all": (0, 7)}[which]
    eps, delta, order = noise(task, step, end - begin)
    kind = "imagewindow" if case["image"] else "window"
    counts = (9, 9) if case["image"] else (60, 5)
    windows = [(hashed(f"{kind}.{c}", (counts[0],), 0.5, 0.1), counts[1]) for c in (0, 1)]
    images = [i - begin for i in FIRST[first : last + 1]]
    return {"o": features(task)[begin:end], "eps": eps, "delta": delta, "order": order, "images": images,
            "categories": CATEGORY[task][first:last], "windows": windows}


def gradient_of(loss, theta, graph):
    return torch.autograd.grad(loss, theta, create_graph=graph)[0]


def mean_terms(parts):
    return {name: float(np.mean([p[name] for p in parts])) for name in parts[0]}


def through_the_inner_loop(case, theta, margins, out):
    """exact and first-order: autograd through all inner steps of all tasks."""
    uncertainty = Uncertainty(case["gamma"])
    lam = uncertainty.value()
    ends, first, second, losses, statistics, shifts = [], [], [], [], [], []
    for task in range(TASKS):
        at = theta
        for step in range(case["steps"]):
            loss, seen = objective(case, at, sets(case, task, step, "support"), case["inner"], lam, margins)
            if step == 0:
                first.append(seen["terms"])
                out.setdefault("w", seen["w"])
                out.setdefault("scores", seen["scores"])
            at = at - case["alpha"] * gradient_of(loss, at, True)
        ends.append(at)
        shifts.append(((at - theta).norm() / theta.norm()).item())
        loss, seen = objective(case, at, sets(case, task, "q", "query"), case["outer"], None, margins)
        losses.append(loss)
        second.append(seen["terms"])
        statistics.append(seen["statistics"])
    uncertainty.pairs.append((np.mean([t["ad"] for t in first]), np.mean([t["ad"] for t in second])))
    outer = uncertainty.value()
    for task in range(TASKS):
        decay = outer * decay_norm(case, ends[task])
        losses[task] = losses[task] + decay
        second[task]["decay"], second[task]["total"] = decay.item(), losses[task].item()
    exact = gradient_of(sum(losses) / TASKS, theta, True).detach()
    plain = sum(gradient_of(loss, end, True) for loss, end in zip(losses, ends)).detach() / TASKS
    after, _ = objective(case, ends[0], sets(case, 0, 0, "support"), case["inner"], lam, Margins())
    out["grads"] = exact if case["gradient"] == "exact" else plain
    out["no_hessian"] = plain
    out["statistics"] = sum(statistics) / TASKS
    cosine = float(exact @ plain / exact.norm() / plain.norm()) if case["gradient"] == "exact" else np.nan
    record(out, mean_terms(first), mean_terms(second), uncertainty, np.mean(shifts), cosine)
    out["drop"] = torch.tensor([first[0]["total"] - after.item()])
    return lam, outer


def explicit_products(case, theta, lam, outer, backwards):
    """v <- v - alpha H_s v, last inner step first; backwards: the mistake."""
    total = 0
    for task in range(TASKS):
        at, passes = theta, []
        for step in range(case["steps"]):
            here = at.detach().requires_grad_()
            loss, _ = objective(case, here, sets(case, task, step, "support"), case["inner"], lam, Margins())
            passes.append((here, gradient_of(loss, here, True)))
            at = here - case["alpha"] * passes[-1][1].detach()
        here = at.detach().requires_grad_()
        loss, _ = objective(case, here, sets(case, task, "q", "query"), case["outer"], outer, Margins())
        v = gradient_of(loss, here, False)
        for here, slope in passes if backwards else reversed(passes):
            v = v - case["alpha"] * torch.autograd.grad(slope @ v, here)[0]
        total = total + v / TASKS
    return total


def on_the_union(case, theta, margins, out):
    """reptile: the mean gradient along the inner loop, lambda of the pairs up to now; then the query set at theta_S
    gives the report. off: the gradient at theta with this step's lambda; query is the part of `all` after the support."""
    uncertainty, reptile = Uncertainty(case["gamma"]), case["gradient"] == "reptile"
    lam = uncertainty.value()
    total, first, second, statistics, shifts, ends = 0, [], [], [], [], []
    for task in range(TASKS):
        at = theta
        for step in range(case["steps"]):
            here = at.detach().requires_grad_()
            loss, seen = objective(case, here, sets(case, task, step, "all"), True, lam if reptile else None, margins)
            slope = gradient_of(loss, here, False)
            total = total + slope / (case["steps"] * TASKS)
            if step == 0:
                first.append({**seen["terms"], "ad": seen["each"][:SUPPORT].mean().item()})
            at = here.detach() - case["alpha"] * slope
        if reptile:
            _, other = objective(case, at, sets(case, task, "q", "query"), True, None, margins)
            second.append(other["terms"])
            statistics.append(other["statistics"])
        else:
            at = theta
            second.append({**seen["terms"], "ad": seen["each"][SUPPORT:].mean().item()})
            statistics.append(seen["statistics"])
        ends.append(at)
        shifts.append(((at - theta).norm() / theta.norm()).item() if reptile else np.nan)
    uncertainty.pairs.append((np.mean([t["ad"] for t in first]), np.mean([t["ad"] for t in second])))
    outer = uncertainty.value()
    for end, terms in zip(ends, second):
        decay = outer * decay_norm(case, end)
        terms["decay"], terms["total"] = decay.item(), terms["before_decay"] + decay.item()
        if not reptile:
            total = total + gradient_of(decay, theta, True) / TASKS
    for begin, end in zip(first, second) if not reptile else ():
        begin["decay"], begin["total"] = end["decay"], end["total"]
    out["grads"] = total.detach()
    out["statistics"] = sum(statistics) / TASKS
    record(out, mean_terms(first), mean_terms(second), uncertainty, np.mean(shifts), np.nan)


def record(out, support, query, uncertainty, shift, cosine):
    names = ["total", "ad", "weighted", "contrast", "decay", "mean_weight", "share"]
    out["support"] = torch.tensor([support[n] for n in names])
    out["query"] = torch.tensor([query[n] for n in names])
    out["scalars"] = torch.tensor([uncertainty.det(), uncertainty.value(), shift, cosine])


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


def main():
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    results = {}
    for tag, changes in CASES.items():
        case, margins, out = {**BASE, **changes}, Margins(), {}
        parts = [hashed(name, shape, scale, offset).reshape(-1) for name, shape, scale, offset in VIEWS]
        theta = torch.cat(parts).requires_grad_()
        if case["gradient"] in ("exact", "first"):
            lam, outer = through_the_inner_loop(case, theta, margins, out)
        else:
            on_the_union(case, theta, margins, out)
        text = f"{tag}: |g| {out['grads'].abs().max():.3f}"
        if case["gradient"] == "exact":
            right = explicit_products(case, theta, lam, outer, False)
            assert relative(right, out["grads"]) < 1e-12
            seen = relative(out["no_hessian"], right)
            assert seen > 0.1, f"{tag}: the Hessian is {seen} of the gradient"
            text += f" no Hessian {seen:.3f}"
            if case["steps"] > 1:
                out["reversed"] = explicit_products(case, theta, lam, outer, True)
                seen = relative(out["reversed"], right)
                assert seen > 1e-3, f"{tag}: the order makes {seen}"
                text += f" reversed {seen:.4f}"
        print(text, {k: f"{v:.1e}" for k, v in margins.least.items()}, "scalars", out["scalars"].numpy().round(4),
              "support", out["support"].numpy().round(3), "query", out["query"].numpy().round(3), flush=True)
        bounds = {"leaky": 1e-5, "hinge": 1e-5, "neighbours": 1e-5, "hard": 1e-4}
        for what, least in margins.least.items():
            assert least > bounds[what], f"{tag}: {what} at {least}"
        if case["weigh"]:
            assert min(out["support"][-1], out["query"][-1]) > 0.1, f"{tag}: too few weights below 1"
        if tag not in ("exact1", "exact3"):
            out = {name: value for name, value in out.items() if name not in ("no_hessian", "reversed")}
        wide = ("support", "query", "scalars", "drop")
        for name, value in out.items():
            kind = np.float64 if name in wide else np.float32
            results[f"{tag}.{name}"] = value.detach().numpy().astype(kind)
    safetensors_py.save(os.path.join(HERE, "files", "meta.safetensors"), results)


if __name__ == "__main__":
    main()
