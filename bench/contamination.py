#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What defective photos among the training photos cost: full CoZAD against the plain baseline.

For each seed a tenth of screw's training photos is replaced by defective test photos; those leave the test set. Each method is
trained on the clean photos and on the contaminated ones with the same seed and evaluated on the same reduced test set. Printed:
one JSON line a run, then the loss of image AUROC (clean minus contaminated) of each method and the paired difference, with
95 % intervals of Student's t over seeds. Labels choose which photos are moved and make the figures, nothing else.
"""
import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile

T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
METHODS = {
    "baseline": ["--scl", "off", "--contrast", "off", "--meta", "off"],
    "scl": ["--contrast", "off", "--meta", "off"],
    "full": [],
}


def photos(root, part):
    found = []
    for folder, _, names in sorted(os.walk(os.path.join(root, part))):
        found += [os.path.relpath(os.path.join(folder, name), root) for name in sorted(names)]
    return [p for p in found if p.lower().endswith((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"))]


def mask_of(root, path):
    _, kind, name = path.split("/")
    mask = f"ground_truth/{kind}/{os.path.splitext(name)[0]}_mask.png"
    return mask if os.path.exists(os.path.join(root, mask)) else ""


def write_split(folder, root, train, test):
    """A data set of layout csv whose photos lie below a link to the original."""
    os.makedirs(folder)
    os.symlink(os.path.abspath(root), os.path.join(folder, "photos"))
    with open(os.path.join(folder, "split.csv"), "w", encoding="utf-8") as out:
        out.write("path,split,label,mask\n")
        for path in train:
            out.write(f"photos/{path},train,0,\n")
        for path in test:
            good = path.startswith("test/good/")
            mask = "" if good else mask_of(root, path)
            out.write(f"photos/{path},test,{0 if good else 1},{'photos/' + mask if mask else ''}\n")


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"contamination: {' '.join(command)}: exit code {done.returncode}")
    return json.loads(done.stdout)


def interval(values):
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return mean, math.nan
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    return mean, T95.get(n - 1, 1.96) * spread / math.sqrt(n)


def histogram(a, data, model, train):
    """Weights (Eq. 5) that the trained model gives the patches of its training photos, defective ones by their masks."""
    rows = []
    for path in train:
        mask = "" if path.startswith("train/") else mask_of(a.data, path)
        rows.append(f"{os.path.join(a.data, path)}\t{os.path.join(a.data, mask) if mask else ''}\n")
    listing = os.path.join(data, "listing.tsv")
    with open(listing, "w", encoding="utf-8") as out:
        out.writelines(rows)
    return run([a.weights_tool, model, a.backbone, listing])


def main():
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    shared = os.environ.get("COZAD_TEST_DATA", os.path.join(here, "..", "shared"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.path.join(shared, "data/mvtec/screw"))
    parser.add_argument("--backbone", default=os.path.join(shared, "weights/resnet50_msra.safetensors"))
    parser.add_argument("--cozad", default=os.path.join(here, "build/release/bin/cozad"))
    parser.add_argument("--weights-tool", default=os.path.join(here, "build/release/bin/bench_weights"))
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--methods", default="baseline,full", help=", ".join(METHODS))
    parser.add_argument("--cache-dir", default="")
    parser.add_argument("train", nargs="*", help="after --: further options of 'cozad train'")
    a = parser.parse_args()
    if not os.path.isdir(a.data) or not os.path.exists(a.backbone):
        print("skipped: contamination (no outside data)")
        return 77
    cache = ["--cache-dir", a.cache_dir] if a.cache_dir else []
    lost = {method: [] for method in a.methods.split(",")}
    for seed in range(a.first, a.first + a.seeds):
        rng = random.Random(seed)
        normal = photos(a.data, "train/good")
        tests = photos(a.data, "test")
        moved = sorted(rng.sample([p for p in tests if "/good/" not in p], round(a.share * len(normal))))
        gone = set(rng.sample(range(len(normal)), len(moved)))
        dirty = [p for i, p in enumerate(normal) if i not in gone] + moved
        test = [p for p in tests if p not in set(moved)]
        with tempfile.TemporaryDirectory() as folder:
            for kind, train in (("clean", normal), ("contaminated", dirty)):
                write_split(os.path.join(folder, kind), a.data, train, test)
            for method in lost:
                auroc = {}
                for kind, train in (("clean", normal), ("contaminated", dirty)):
                    data, model = os.path.join(folder, kind), os.path.join(folder, "m.cozad")
                    run([a.cozad, "train", "--method", "cozad", "--data", data, "--backbone", a.backbone, "--seed",
                         str(seed), "-q", "--json", "-o", model, *METHODS[method], *a.train, *cache])
                    figures = run([a.cozad, "eval", "-m", model, "--backbone", a.backbone, "--data", data, "--json", "-q",
                                   *cache])["mean"]
                    line = {"seed": seed, "method": method, "training": kind, **figures}
                    if kind == "contaminated" and os.path.exists(a.weights_tool):
                        line["weights"] = histogram(a, data, model, train)
                    auroc[kind] = figures["image_auroc"]
                    print(json.dumps(line), flush=True)
                lost[method].append(auroc["clean"] - auroc["contaminated"])
    for method, values in lost.items():
        mean, half = interval([100 * v for v in values])
        print(f"{method}: loss of image AUROC {mean:.1f} ± {half:.1f} points (95 %, {len(values)} seeds)")
    first, *others = lost
    for method in others:
        mean, half = interval([100 * (x - y) for x, y in zip(lost[first], lost[method])])
        print(f"{first} minus {method}, paired: {mean:.1f} ± {half:.1f} points")
    return 0


if __name__ == "__main__":
    sys.exit(main())
