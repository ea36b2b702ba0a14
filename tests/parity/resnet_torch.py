# SPDX-License-Identifier: Apache-2.0
"""The ResNet family in PyTorch with torchvision's parameter names (torchvision itself is not needed), and patch features
computed literally as docs/math.md section 2 says."""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import hashweights

# bottleneck, width of a bottleneck's 3x3 for every 64 planes, blocks
ARCHITECTURES = {
    "resnet18": (False, 64, (2, 2, 2, 2)),
    "resnet34": (False, 64, (3, 4, 6, 3)),
    "resnet50": (True, 64, (3, 4, 6, 3)),
    "resnet101": (True, 64, (3, 4, 23, 3)),
    "wide_resnet50_2": (True, 128, (3, 4, 6, 3)),
    "wide_resnet101_2": (True, 128, (3, 4, 23, 3)),
    "cozad_r32": (False, 64, (2, 2, 2)),
}
# stem, planes of each stage
CHANNELS = {"cozad_r32": (32, (32, 96, 192))}


def conv(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class Block(nn.Module):
    def __init__(self, inputs, inner, outputs, stride, bottleneck, stride_in_conv1):
        super().__init__()
        self.bottleneck = bottleneck
        if bottleneck:
            self.conv1 = conv(inputs, inner, 1, stride if stride_in_conv1 else 1)
            self.conv2 = conv(inner, inner, 3, 1 if stride_in_conv1 else stride)
            self.conv3, self.bn3 = conv(inner, outputs, 1), nn.BatchNorm2d(outputs)
        else:
            self.conv1, self.conv2 = conv(inputs, inner, 3, stride), conv(inner, outputs, 3)
        self.bn1, self.bn2 = nn.BatchNorm2d(inner), nn.BatchNorm2d(inner)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            y = self.bn3(self.conv3(F.relu(y)))
        return F.relu(y + shortcut)


class ResNet(nn.Module):
    """Stem to layerN. msra: stride in the first 1x1, stem pool without padding in ceil mode. fc: adds torchvision's
    last layer, so that state dicts are complete."""

    def __init__(self, architecture, stages=3, msra=False, fc=False):
        super().__init__()
        self.bottleneck, width, blocks = ARCHITECTURES[architecture]
        stem, stage_planes = CHANNELS.get(architecture, (64, (64, 128, 256, 512)))
        self.conv1, self.bn1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False), nn.BatchNorm2d(stem)
        self.maxpool = nn.MaxPool2d(3, 2, 0, ceil_mode=True) if msra else nn.MaxPool2d(3, 2, 1)
        self.stages, inputs = stages, stem
        for layer in range(1, stages + 1):
            planes = stage_planes[layer - 1]
            outputs, inner = (4 * planes, planes * width // 64) if self.bottleneck else (planes, planes)
            modules = []
            for index in range(blocks[layer - 1]):
                stride = 2 if layer > 1 and index == 0 else 1
                modules.append(Block(inputs, inner, outputs, stride, self.bottleneck, msra))
                inputs = outputs
            setattr(self, f"layer{layer}", nn.Sequential(*modules))
        if fc:
            self.fc = nn.Linear(inputs, 1000)
        self.eval()

    def forward(self, x):
        """{tap: [N, C, H, W]}"""
        taps = {"stem.relu": F.relu(self.bn1(self.conv1(x)))}
        x = taps["stem.pool"] = self.maxpool(taps["stem.relu"])
        for layer in range(1, self.stages + 1):
            x = taps[f"layer{layer}"] = getattr(self, f"layer{layer}")(x)
        return taps


def hash_weights(model, seed):
    """Fills every tensor of the state dict from its name (fc too, by the same recipe) and returns the model."""
    state = model.state_dict()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(torch.from_numpy(hashweights.weight(name, tuple(tensor.shape), seed, model.bottleneck)))
    model.load_state_dict(state)
    return model


def patches(maps, width=1536):
    """maps: list of [1, C, H, W]; [H * W, width] at the first map's grid: unfold 3x3, upsample, pool, concatenate, pool."""
    height, breadth = maps[0].shape[2:]
    columns = []
    for x in maps:
        channels, h, w = x.shape[1:]
        cells = F.unfold(x, 3, padding=1).reshape(1, channels * 9, h, w)
        if (h, w) != (height, breadth):
            cells = F.interpolate(cells, size=(height, breadth), mode="bilinear", align_corners=False)
        cells = cells.reshape(channels * 9, height * breadth).T
        columns.append(F.adaptive_avg_pool1d(cells.unsqueeze(1), width).squeeze(1))
    return F.adaptive_avg_pool1d(torch.cat(columns, 1).unsqueeze(1), width).squeeze(1)


def numpy_state(model):
    return {name: tensor.numpy().astype(np.float32) for name, tensor in model.state_dict().items()}
