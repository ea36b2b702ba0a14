# SPDX-License-Identifier: Apache-2.0
"""Writes the student's file: batch norm folded into the convolutions, F16, with the metadata that CoZAD reads.

    python3 export.py --work FOLDER --out builtin.safetensors      # from FOLDER/checkpoint.pt, also while training

Batch norm's statistics are measured anew for the averaged weights over crops of the shards, and the feature scale
(docs/math.md: the root mean square of the patch features becomes RHO) over the validation crops. The channels keep the
sizes that training gave them: rescaling them (a factor on a channel can be undone where it is read) by their weight in
the heads or to equal deviations, and giving the two maps the teacher's shares, changed the rank correlation of
distances between patches with the teacher's by less than 0.04.
"""

import argparse
import glob

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import weights_file
from student import ARCHITECTURE, BLOCKS, Student

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VERSION = "builtin-1"
WIDTH = 384  # of a patch feature
RHO = 0.245
CALIBRATION, PART = 768, 32


def normalised(crops):
    """[N, 128, 128, 3] uint8 -> [N, 3, 128, 128] float32, channels_last."""
    x = torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float()
    return (x - torch.tensor(MEAN).view(1, 3, 1, 1) * 255) / (torch.tensor(STD).view(1, 3, 1, 1) * 255)


def measure_norms(student, crops):
    """Sets the running statistics of every batch norm to those over the crops."""
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean over the batches
    student.train()
    with torch.no_grad():
        for first in range(0, len(crops), PART):
            student(normalised(crops[first:first + PART]))
    student.eval()


def patch_features(layer2, layer3, width=WIDTH):
    """Patch features as docs/math.md defines them: [N, H/8 * W/8, width]."""
    reduced = []
    for values in (layer2, layer3):
        n, c, h, w = values.shape
        cells = F.unfold(values, 3, padding=1).transpose(1, 2)  # [N, h w, 9 c], in the order c, ky, kx
        reduced.append(F.adaptive_avg_pool1d(cells, width).transpose(1, 2).reshape(n, width, h, w))
    later = F.interpolate(reduced[1], reduced[0].shape[2:], mode="bilinear", align_corners=False)
    both = torch.cat([reduced[0], later], 1).flatten(2).transpose(1, 2)
    return F.adaptive_avg_pool1d(both, width)


def patches(student, crops):
    """Patch features of crops: [N, P, WIDTH]."""
    with torch.no_grad():
        return torch.cat([patch_features(*student(normalised(crops[first:first + PART])))
                          for first in range(0, len(crops), PART)])


def rms(values):
    return float(values.double().square().mean().sqrt())


def fold(conv, norm):
    """(weight, bias) in double of a convolution followed by batch norm."""
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    weight = conv.weight.double() * scale[:, None, None, None]
    bias = norm.bias.double() - norm.running_mean.double() * scale
    return weight.detach().numpy(), bias.detach().numpy()


def convolutions(student):
    """{torchvision's name: (convolution, its batch norm)}"""
    pairs = {"conv1": (student.conv1, student.bn1)}
    for layer in (1, 2, 3):
        for index in range(BLOCKS):
            block, name = getattr(student, f"layer{layer}")[index], f"layer{layer}.{index}"
            pairs[f"{name}.conv1"] = (block.conv1, block.bn1)
            pairs[f"{name}.conv2"] = (block.conv2, block.bn2)
            if block.downsample is not None:
                pairs[f"{name}.downsample.0"] = (block.downsample[0], block.downsample[1])
    return pairs


def folded(student):
    """{name: array in double} of the whole network, with conv.bias in place of batch norm."""
    tensors = {}
    for name, (conv, norm) in convolutions(student).items():
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = fold(conv, norm)
    return tensors


def network(tensors):
    """A Student that computes with folded tensors."""
    student = Student().eval()
    with torch.no_grad():
        for name, (conv, norm) in convolutions(student).items():
            conv.weight.copy_(torch.from_numpy(tensors[f"{name}.weight"].astype(np.float32)))
            norm.bias.copy_(torch.from_numpy(tensors[f"{name}.bias"].astype(np.float32)))
            norm.eps = 0.0  # with mean 0, variance 1 and weight 1: adds the bias
            norm.weight.fill_(1)
    return student


def write(student, work, out):
    """Exports a student (its batch norms are measured anew) with figures from the shards in `work`."""
    paths = sorted(glob.glob(f"{work}/shards/*.x.npy"))
    part = -(-CALIBRATION // len(paths))
    measure_norms(student, np.concatenate([np.load(path, mmap_mode="r")[:part] for path in paths])[:CALIBRATION])
    crops = np.load(f"{work}/validation.x.npy", mmap_mode="r")[:256]
    tensors = {name: values.astype(np.float16) for name, values in folded(student).items()}
    if not all(np.isfinite(values).all() for values in tensors.values()):
        raise ValueError("a folded weight is not finite in float16")
    scale = RHO / rms(patches(network(tensors), crops))
    metadata = {
        "architecture": ARCHITECTURE,
        "version": VERSION,
        "stages": "stem,layer1,layer2,layer3",
        "block": "basic",
        "batchnorm": "folded into the convolutions (conv.bias)",
        "stem_pool": "3x3 stride 2 padding 1",
        "input_range": "0..1 RGB",
        "input_mean": str(list(MEAN)).replace(" ", ""),
        "input_std": str(list(STD)).replace(" ", ""),
        "feature_width": str(WIDTH),
        "feature_scale": f"{scale:.6g}",
        "license": "Apache-2.0",
        "source": "distilled from He et al.'s ResNet-50 (MIT) on procedurally generated pictures: tools/distill",
    }
    weights_file.write(out, tensors, metadata)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--work", required=True, help="train.py's folder")
    parser.add_argument("--out", required=True, help="the file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    average = torch.load(f"{options.work}/checkpoint.pt")["average"]
    student = Student()
    student.load_state_dict({name[len("student."):]: values for name, values in average.items()
                             if name.startswith("student.")})
    write(student, options.work, options.out)


if __name__ == "__main__":
    main()
