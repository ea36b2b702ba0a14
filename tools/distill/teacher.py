# SPDX-License-Identifier: Apache-2.0
"""The teacher: He et al.'s Caffe ResNet-50 (MIT), from resnet50_msra.safetensors, as far as layer3.

It differs from torchvision's ResNet-50 in three places, all stated in the file's metadata: the stride of a stage is in
the first 1x1 convolution, the stem pool is 3x3 stride 2 without padding in ceil mode, and the input is RGB 0 … 255
minus a mean. Batch norm is folded into the convolutions while loading, in double.
"""

import json

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import weights_file

BLOCKS = (3, 4, 6)
CHANNELS = {"layer2": 512, "layer3": 1024}


class Folded(nn.Conv2d):
    """A convolution with its batch norm folded in."""

    def __init__(self, tensors, conv, norm, eps, stride, pad):
        weight = tensors[f"{conv}.weight"].astype(np.float64)
        gamma, beta, mean, var = (
            tensors[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var"))
        scale = gamma / np.sqrt(var + eps)
        super().__init__(weight.shape[1], weight.shape[0], weight.shape[2], stride, pad)
        self.weight.data = torch.from_numpy((weight * scale[:, None, None, None]).astype(np.float32))
        self.bias.data = torch.from_numpy((beta - mean * scale).astype(np.float32))


class Bottleneck(nn.Module):
    def __init__(self, tensors, name, eps, stride):
        super().__init__()
        self.conv1 = Folded(tensors, f"{name}.conv1", f"{name}.bn1", eps, stride, 0)
        self.conv2 = Folded(tensors, f"{name}.conv2", f"{name}.bn2", eps, 1, 1)
        self.conv3 = Folded(tensors, f"{name}.conv3", f"{name}.bn3", eps, 1, 0)
        self.shortcut = None
        if f"{name}.downsample.0.weight" in tensors:
            self.shortcut = Folded(tensors, f"{name}.downsample.0", f"{name}.downsample.1", eps, stride, 0)

    def forward(self, x):
        shortcut = x if self.shortcut is None else self.shortcut(x)
        y = F.relu(self.conv1(x))
        y = F.relu(self.conv2(y))
        return F.relu(self.conv3(y) + shortcut)


class Teacher(nn.Module):
    """forward: [N, 3, H, W] RGB 0 … 255 -> layer2 [N, 512, H/8, W/8] and layer3 [N, 1024, H/16, W/16]."""

    def __init__(self, path):
        super().__init__()
        tensors, metadata = weights_file.read(path)
        if not metadata.get("stride_in", "").startswith("conv1") or "ceil_mode" not in metadata.get("stem_pool", ""):
            raise ValueError(f"{path}: resnet50_msra expected")
        eps = float(metadata["bn_eps"])
        self.register_buffer("mean", torch.tensor(json.loads(metadata["input_mean"])).view(1, 3, 1, 1))
        self.conv1 = Folded(tensors, "conv1", "bn1", eps, 2, 3)
        for layer, count in enumerate(BLOCKS, 1):
            blocks = [Bottleneck(tensors, f"layer{layer}.{i}", eps, 2 if layer > 1 and i == 0 else 1)
                      for i in range(count)]
            setattr(self, f"layer{layer}", nn.Sequential(*blocks))
        self.eval()
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def forward(self, x):
        x = F.relu(self.conv1(x - self.mean))
        x = F.max_pool2d(x, 3, 2, 0, ceil_mode=True)
        layer2 = self.layer2(self.layer1(x))
        return layer2, self.layer3(layer2)
