# SPDX-License-Identifier: Apache-2.0
"""SimpleNet (docs/math.md section 3) in eager PyTorch, trained on the patch features of common.py.

The last epoch is what is reported; nothing is chosen by test labels.

  python3 simplenet_torch.py --data DIR --layout mvtec|magnetic --weights FILE --work SCRATCH --epochs 40 --seeds 5
"""
import copy
import sys
import time

import torch
import torch.nn.functional as F

import common

HIDDEN = 1024
SIGMA = 0.015
MARGIN_POSITIVE, MARGIN_NEGATIVE = 0.5, -0.5
ADAPTOR_RATE, DISCRIMINATOR_RATE = 1e-4, 2e-4


class Head(torch.nn.Module):
    def __init__(self, generator):
        super().__init__()
        self.adaptor = torch.nn.Linear(common.PATCH_WIDTH, common.PATCH_WIDTH, bias=False)  # A
        self.hidden = torch.nn.Linear(common.PATCH_WIDTH, HIDDEN, bias=False)  # W1; b1 = 0, batch norm cancels it
        self.norm = torch.nn.BatchNorm1d(HIDDEN, eps=1e-5, momentum=0.1)
        self.out = torch.nn.Linear(HIDDEN, 1, bias=False)  # w2
        for layer in (self.adaptor, self.hidden, self.out):
            std = (2.0 / sum(layer.weight.shape)) ** 0.5
            with torch.no_grad():
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * std)

    def discriminate(self, q):
        return self.out(F.leaky_relu(self.norm(self.hidden(q)), 0.2))[:, 0]

    def forward(self, o):
        return self.discriminate(self.adaptor(o))


class Trainer:
    """Keeps both halves of every training photo's features in memory, so that a step pools nothing."""

    def __init__(self, features, batch, patches):
        self.features, self.batch, self.per_image = features, batch, patches
        start = time.perf_counter()
        self.halves = [features.halves(image) for image in features.train]
        self.load_seconds = time.perf_counter() - start

    def _draw(self, images, generator):
        parts = []
        for image in images:
            rows = torch.randperm(self.features.patches, generator=generator)[: self.per_image]
            fine, coarse = self.halves[image]
            parts.append(torch.cat([fine[rows], self.features.upsample(coarse, rows)], 1))
        return torch.cat(parts)

    def step(self, head, optimisers, o, noise):
        q = head.adaptor(o)
        scores = head.discriminate(torch.cat([q, q + noise]))
        normal, synthetic = scores[: len(o)], scores[len(o) :]
        loss = F.relu(MARGIN_POSITIVE - normal).mean() + F.relu(synthetic - MARGIN_NEGATIVE).mean()
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        return loss.item()

    def train(self, head, epochs, generator):
        """The training loop: after each epoch yields (epochs done, mean loss, its seconds, its CPU seconds)."""
        discriminator = [*head.hidden.parameters(), *head.norm.parameters(), *head.out.parameters()]
        optimisers = [
            torch.optim.Adam(head.adaptor.parameters(), ADAPTOR_RATE),
            torch.optim.Adam(discriminator, DISCRIMINATOR_RATE),
        ]
        for epoch in range(epochs):
            start, cpu = time.perf_counter(), time.process_time()
            head.train()
            order = torch.randperm(len(self.halves), generator=generator).tolist()
            total = 0.0
            for first in range(0, len(order), self.batch):
                images = order[first : first + self.batch]
                o = self._draw(images, generator)
                noise = torch.randn(o.shape, generator=generator) * SIGMA
                total += self.step(head, optimisers, o, noise) * len(images)
            yield epoch + 1, total / len(order), time.perf_counter() - start, time.process_time() - cpu

    @torch.no_grad()
    def recompute_statistics(self, head, generator):
        """Batch norm's mean and unbiased variance over all training patches of [q; q-], at these weights."""
        composed = head.hidden.weight @ head.adaptor.weight
        total = torch.zeros(HIDDEN, dtype=torch.float64)
        squares = torch.zeros(HIDDEN, dtype=torch.float64)
        shift = head.norm.running_mean.clone()
        count = 0
        for fine, coarse in self.halves:
            o = torch.cat([fine, self.features.upsample(coarse)], 1)
            h = o @ composed.t() - shift
            noise = torch.randn(o.shape, generator=generator) * SIGMA
            for part in (h, h + noise @ head.hidden.weight.t()):
                total += part.sum(0, dtype=torch.float64)
                squares += part.square().sum(0, dtype=torch.float64)
                count += len(part)
        mean = total / count
        head.norm.running_mean.copy_(shift + mean)
        head.norm.running_var.copy_((squares - count * mean.square()) / (count - 1))


@torch.no_grad()
def score(features, head):
    """{test image: [P] patch scores a = -D}; A and W1 composed into one product."""
    head.eval()
    composed = head.hidden.weight @ head.adaptor.weight
    return {
        image: -head.out(F.leaky_relu(head.norm(features.image(image) @ composed.t()), 0.2))[:, 0].numpy()
        for image in features.test
    }


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16, help="images a step")
    parser.add_argument("--patches-per-image", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--report-epochs", default="", help="also report after these epochs, e.g. 5,10,20")
    args = parser.parse_args()
    features = common.open_features(args)
    trainer = Trainer(features, args.batch, args.patches_per_image)
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        run_seed(args, features, trainer, seed)


def run_seed(args, features, trainer, seed):
    """The rates are constant, so the report after n epochs of a longer run is exactly that of a run of n epochs."""
    stops = {args.epochs, *(int(n) for n in args.report_epochs.split(",") if n)}
    generator = torch.Generator().manual_seed(seed)
    head = Head(generator)
    spent, spent_cpu, first_loss = 0.0, 0.0, None
    for epoch, loss, seconds, cpu in trainer.train(head, args.epochs, generator):
        spent += seconds
        spent_cpu += cpu
        first_loss = loss if first_loss is None else first_loss
        text = f"loss {loss:.4f}, {seconds:.1f} s, CPU {cpu:.1f} s"
        print(f"{features.name} {args.size} seed {seed} epoch {epoch}: {text}", file=sys.stderr, flush=True)
        if epoch not in stops:
            continue
        start = time.perf_counter()
        finished = copy.deepcopy(head)
        trainer.recompute_statistics(finished, torch.Generator().manual_seed(1000 + seed))
        statistics = time.perf_counter() - start
        figures = common.evaluate(features, score(features, finished))
        common.report(args, features, {
            "method": "simplenet",
            "seed": seed,
            "epochs": epoch,
            "batch": args.batch,
            "patches_per_image": args.patches_per_image,
            **figures,
            "first_loss": first_loss,
            "last_loss": loss,
            "train_seconds": spent,
            "train_cpu_seconds": spent_cpu,
            "epoch_seconds": spent / epoch,
            "train_seconds_total": trainer.load_seconds + spent + statistics,
            "evaluate_seconds": time.perf_counter() - start - statistics,
        })


if __name__ == "__main__":
    main()
