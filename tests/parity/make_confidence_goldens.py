#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes files/confidence.safetensors: minimum and quartiles by numpy.percentile, weights of Eq. 5 and 6, determinants of
Eq. 8 by numpy.cov and numpy.linalg.det (made with numpy 1.24).

Inputs are hashes of their names (hashweights.py), which the test computes again: only results are stored, in double.
"""
import os

import numpy as np

import hashweights
import safetensors_py

HERE = os.path.dirname(os.path.abspath(__file__))
COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 23, 24, 25, 26, 100, 1023, 1024, 1025, 4099)  # scores of window and batch together
KAPPA, FLOOR = 1.5, 1e-3
STEPS, PAIRS, DET_MAX = 40, 10, 100.0


def given(name, count):
    return hashweights.uniform(hashweights.name_hash(name), count)


def scores_of(count):
    """float32; one in eight is wider, on the side of anomalies."""
    values = given(f"scores.{count}", count)
    values[::8] = np.float32(6) * np.abs(values[::8])
    return values - np.float32(0.5)


def weights_of(scores, least, quartiles, anchor):
    q1, median, q3 = quartiles
    tau = q3 + KAPPA * (q3 - q1)
    if q1 == q3:
        return np.ones_like(scores)
    if anchor == "none":
        ratio = np.divide(tau, scores, out=np.ones_like(scores), where=scores != 0)
        return np.where(scores <= max(0.0, tau), 1.0, np.maximum(FLOOR, ratio))
    base = median if anchor == "median" else least
    a, limit = scores - base, tau - base
    return np.where(a <= limit, 1.0, np.maximum(FLOOR, limit / np.where(a > 0, a, 1.0)))


def losses():
    """[STEPS, 2] a pair a step: both fall, with common and own noise."""
    fall = np.exp(-np.arange(STEPS) / 60.0)
    common, own = given("loss.common", STEPS).astype(float), given("loss.own", 2 * STEPS).astype(float)
    first = 0.9 * fall * (1 + 0.2 * common + 0.1 * own[:STEPS])
    second = 1.1 * fall * (1 + 0.2 * common + 0.2 * own[STEPS:])
    return np.stack([first, second], axis=1)


def determinants(pairs, raw):
    scale = np.ones(2) if raw else np.maximum(1e-8, pairs[:PAIRS].std(axis=0, ddof=1))
    out = np.zeros(len(pairs))
    for i in range(PAIRS, len(pairs) + 1):
        sigma = np.cov((pairs[i - PAIRS : i] / scale).T, ddof=1)
        out[i - 1] = min(max(np.linalg.det(sigma), 0.0), DET_MAX)
    return out


def main():
    spreads, tensors = [], {}
    for count in COUNTS:
        scores = scores_of(count).astype(np.float64)
        spreads.append([scores.min(), *np.percentile(scores, [25, 50, 75])])
        if count == 1024:
            for anchor in ("median", "min", "none"):
                tensors[f"weights.{anchor}"] = weights_of(scores, spreads[-1][0], spreads[-1][1:], anchor)
                share = np.mean(tensors[f"weights.{anchor}"] < 1)
                print(f"{anchor}: {100 * share:.1f} % of weights below 1")
    pairs = losses()
    tensors["spread"] = np.array(spreads)
    tensors["pairs"] = pairs
    tensors["det.scaled"] = determinants(pairs, False)
    tensors["det.raw"] = determinants(pairs, True)
    print("scaled", tensors["det.scaled"][PAIRS - 1 :].round(3), "raw", tensors["det.raw"][PAIRS - 1 :: 6])
    safetensors_py.save(os.path.join(HERE, "files", "confidence.safetensors"), tensors)


if __name__ == "__main__":
    main()
