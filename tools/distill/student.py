# SPDX-License-Identifier: Apache-2.0
"""The student: architecture "cozad_r32", a ResNet of basic blocks (torchvision's names) that ends at layer3."""

import torch.nn.functional as F
from torch import nn

ARCHITECTURE = "cozad_r32"
STEM = 32
WIDTHS = (32, 96, 192)
BLOCKS = 2


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + shortcut, inplace=True)


class Student(nn.Module):
    """forward: [N, 3, H, W], normalised -> layer2 [N, 96, H/8, W/8] and layer3 [N, 192, H/16, W/16], after ReLU."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        inputs = STEM
        for layer, width in enumerate(WIDTHS, 1):
            blocks = []
            for block in range(BLOCKS):
                blocks.append(BasicBlock(inputs, width, 2 if layer > 1 and block == 0 else 1))
                inputs = width
            setattr(self, f"layer{layer}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, BasicBlock):
                nn.init.constant_(module.bn2.weight, 0.2)  # nearly the identity at first: steady early training

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.max_pool2d(x, 3, 2, 1)
        layer2 = self.layer2(self.layer1(x))
        return layer2, self.layer3(layer2)
