#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`cozad adapt` with k photos against training from scratch on the same k photos for the same time.

A zero-shot model is trained once a seed on source products that are none of the targets. Then, for every target and seed, k normal
photos are drawn; `adapt` takes some steps on them, and method simplenet trains on the same photos for as many epochs as fit into
adapt's own wall time (timed by a short run before). All are evaluated on the target's test photos, the unadapted model too. Last
step, no selection. One JSON line an evaluation, then means and standard deviations over seeds.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time


def photos(a, target):
    """Normal training photos of layout mvtec or csv."""
    root = os.path.join(a.data, target)
    table = os.path.join(root, "split.csv")
    if os.path.exists(table):
        with open(table, encoding="utf-8") as lines:
            rows = [line.strip().split(",") for line in lines]
        at = {name: i for i, name in enumerate(rows[0])}
        return [os.path.join(root, r[at["path"]]) for r in rows[1:] if r[at["split"]] == "train" and r[at["label"]] == "0"]
    folder = os.path.join(root, "train/good")
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]


def run(command):
    begun = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"adapt: {' '.join(command)}: exit code {done.returncode}")
    return json.loads(done.stdout), time.monotonic() - begun


def one_target(a, common, zero, target, seed, folder):
    chosen = random.Random(f"{seed} {target}").sample(photos(a, target), a.k)
    few = os.path.join(folder, f"few-{target.replace('/', '-')}")
    os.makedirs(few, exist_ok=True)
    for path in chosen:
        os.symlink(os.path.abspath(path), os.path.join(few, os.path.basename(path)))
    models = {"zero-shot": zero, "adapted": os.path.join(folder, "a.cozad"), "scratch": os.path.join(folder, "s.cozad")}
    run([a.cozad, "adapt", "-m", zero, "--normal", few, "--steps", "1", "-o", models["adapted"], "--json", "-q",
         *common])  # features into the store, so that neither side's time has them
    _, seconds = run([a.cozad, "adapt", "-m", zero, "--normal", few, "--steps", str(a.steps), "--inner-lr", str(a.inner_lr),
                      "--seed", str(seed), "-o", models["adapted"], "--json", "-q", *common])
    scratch = [a.cozad, "train", "--normal", few, "--seed", str(seed), "--patches-per-image", "128", "-o", models["scratch"],
               "--json", "-q", *common, *a.head]
    trial = [run([*scratch, "--epochs", str(n)])[1] for n in (10, 60)]
    each = max((trial[1] - trial[0]) / 50, 1e-4)
    epochs = max(1, round((seconds - trial[0]) / each) + 10)
    _, scratch_seconds = run([*scratch, "--epochs", str(epochs)])
    for name, model in models.items():
        figures, _ = run([a.cozad, "eval", "-m", model, "--data", os.path.join(a.data, target), "--json", "-q", *common])
        yield {"target": target, "seed": seed, "model": name, "seconds": seconds if name == "adapted" else scratch_seconds,
               "epochs": epochs if name == "scratch" else None, **figures["mean"]}


def main():
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    shared = os.environ.get("COZAD_TEST_DATA", os.path.join(here, "..", "shared"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.path.join(shared, "data"))
    parser.add_argument("--backbone", default=os.path.join(shared, "weights/resnet50_msra.safetensors"))
    parser.add_argument("--cozad", default=os.path.join(here, "build/release/bin/cozad"))
    parser.add_argument("--targets", default="mvtec/screw,mvtec/tire,magnetic_tile")
    parser.add_argument("--sources", default="mvtec:mvtec:metal_nut,dtd/images:folder", help="below --data")
    parser.add_argument("-k", type=int, default=8)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--inner-lr", type=float, default=3e-3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache-dir", default="")
    parser.add_argument("--threads", default="0")
    parser.add_argument("--head", default="", help="widths for both, as '--feature-width 384 --hidden-width 256'")
    parser.add_argument("train", nargs="*", help="after --: further options of the zero-shot training")
    a = parser.parse_args()
    a.head = a.head.split()
    if not os.path.isdir(a.data) or not os.path.exists(a.backbone):
        print("skipped: adapt (no outside data)")
        return 77
    common = ["--backbone", a.backbone, "--threads", a.threads] + (["--cache-dir", a.cache_dir] if a.cache_dir else [])
    sources = [word for s in a.sources.split(",") for word in ("--source", os.path.join(a.data, s))]
    lines = []
    for seed in range(1, a.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            zero = os.path.join(folder, "zero.cozad")
            run([a.cozad, "train", "--method", "cozad", *sources, "--seed", str(seed), "-o", zero, "--json", "-q", *common,
                 *a.head, *a.train])
            for target in a.targets.split(","):
                for line in one_target(a, common, zero, target, seed, folder):
                    lines.append(line)
                    print(json.dumps(line), flush=True)
    for target in a.targets.split(","):
        for model in ("zero-shot", "adapted", "scratch"):
            cells = []
            for figure in ("image_auroc", "pixel_auroc"):
                values = [100 * x[figure] for x in lines if x["target"] == target and x["model"] == model]
                spread = statistics.stdev(values) if len(values) > 1 else 0
                cells.append(f"{statistics.mean(values):.1f} ± {spread:.1f}")
            print(f"{target} {model}: image AUROC {cells[0]}, pixel AUROC {cells[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
