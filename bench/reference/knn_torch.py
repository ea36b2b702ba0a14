# SPDX-License-Identifier: Apache-2.0
"""Nearest-neighbour bank on the patch features of common.py: a patch's score is its distance to the nearest bank row,
an image's score the largest of them.

Two banks: every patch of --photos training photos drawn at random, and a random share of the patches of all of them;
each cut to --max-rows rows at random. Candidates come from bf16 products (four times as fast here) of centred features;
the best --candidates of them are measured again in float32. `exact_share` compares one image with an exact search.

  python3 knn_torch.py --data DIR --layout mvtec|magnetic --weights FILE --work SCRATCH --size 256
"""
import time

import torch

import common


def draw_bank(features, images, share, limit, generator):
    """[R, 1536] patches of `images`, a random `share` of each, at most `limit` rows in all."""
    keep = min(round(features.patches * share), -(-limit // len(images)))
    parts = []
    for image in images:
        rows = torch.randperm(features.patches, generator=generator)[:keep]
        fine, coarse = features.halves(image)
        parts.append(torch.cat([fine[rows], features.upsample(coarse, rows)], 1))
    return torch.cat(parts)[:limit]


class Bank:
    def __init__(self, rows, candidates):
        self.candidates = candidates
        self.mean = rows.mean(0)
        self.rows = rows - self.mean
        self.half_norms = self.rows.square().sum(1) / 2
        self.coarse = self.rows.bfloat16().t()

    def nearest(self, o):
        """[P] distances to the nearest row."""
        x = o - self.mean
        likeness = torch.matmul(x.bfloat16(), self.coarse).float().sub_(self.half_norms)
        best = likeness.topk(self.candidates, dim=1, sorted=False).indices
        distances = [(x - self.rows[best[:, k]]).square().sum(1) for k in range(self.candidates)]
        return torch.stack(distances).min(0).values.sqrt()

    def nearest_exact(self, o):
        x = o - self.mean
        best = (x @ self.rows.t()).sub_(self.half_norms).argmax(1)
        return (x - self.rows[best]).square().sum(1).sqrt()


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--photos", type=int, default=32)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--max-rows", type=int, default=32768)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--banks", default="photos,all")
    args = parser.parse_args()
    features = common.open_features(args)
    for kind in args.banks.split(","):
        start = time.perf_counter()
        generator = torch.Generator().manual_seed(args.seed)
        images, share = features.train, args.share
        if kind == "photos":
            order = torch.randperm(len(images), generator=generator).tolist()
            images, share = [images[i] for i in order[: args.photos]], 1.0
        bank = Bank(draw_bank(features, images, share, args.max_rows, generator), args.candidates)
        probe = features.image(features.test[0])
        exact, found = bank.nearest_exact(probe), bank.nearest(probe)
        scores = {image: bank.nearest(features.image(image)).numpy() for image in features.test}
        common.report(args, features, {
            "method": "knn",
            "bank": kind,
            "seed": args.seed,
            "photos": len(images),
            "rows": len(bank.rows),
            **common.evaluate(features, scores),
            "exact_share": (found <= exact * (1 + 1e-6)).float().mean().item(),
            "exact_worst": ((found - exact) / exact).max().item(),
            "seconds": time.perf_counter() - start,
        })


if __name__ == "__main__":
    main()
