#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a ResNet's stem and stages as ONNX graphs, from the folded weights of cz_backbone_save. Needs python3-onnx and numpy.

  make_onnx.py WEIGHTS.safetensors --kind fp32   --out FILE.onnx   the network; outputs are the taps, [N, C, h, w] in F32
  make_onnx.py WEIGHTS.safetensors --kind ranges --out FILE.onnx   the same, whose outputs are the least and largest value of
                                                                   every activation: "min:NAME", "max:NAME"
  make_onnx.py WEIGHTS.safetensors --kind int8 --ranges RANGES.json --out FILE.onnx
                                   static QDQ: signed 8-bit weights, one scale an output channel; unsigned 8-bit activations,
                                   one scale a tensor, from RANGES.json: {NAME: [least, largest], ...}; 32-bit bias

ONNX Runtime joins batch norm (folded here already), ReLU and the quantised forms by itself.
"""
import argparse
import json
import struct
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
IR_VERSION = 8


def read_safetensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] != "F32":
            sys.exit(f"make_onnx: {path}: {name} is {entry['dtype']}, not F32: give the weights that cozad has folded")
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    return tensors, metadata


class Graph:
    """The network in floating point. Every activation has a name; `quantised` gives each a form with 8 bits."""

    def __init__(self, weights, metadata):
        self.weights = weights
        self.msra = "conv1" in metadata.get("stride_in", "")
        self.ceil = "ceil_mode" in metadata.get("stem_pool", "")
        self.nodes, self.constants, self.activations = [], [], []

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def node(self, kind, inputs, name, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name="n:" + name, **attributes))
        return name

    def read(self, value):
        """What an operation takes as its input; the 8-bit form overrides it."""
        return value

    def write(self, value):
        """Called once for each finished activation."""
        self.activations.append(value)
        return value

    def filters(self, name, source):
        return [self.constant(name + leaf, self.weights[name + leaf]) for leaf in (".weight", ".bias")]

    def conv(self, x, name, stride, relu):
        kernel = self.weights[name + ".weight"].shape[2]
        inputs = [self.read(x), *self.filters(name, x)]
        shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}
        value = self.node("Conv", inputs, name + (":sum" if relu else ""), **shape)
        return self.write(self.node("Relu", [value], name) if relu else value)

    def pool(self, x):
        pads = [0] * 4 if self.ceil else [1] * 4
        shape = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads, "ceil_mode": int(self.ceil)}
        return self.write(self.node("MaxPool", [self.read(x)], "pool", **shape))

    def block(self, x, name, stride):
        bottleneck = name + ".conv3.weight" in self.weights
        first, middle = (stride, 1) if self.msra or not bottleneck else (1, stride)
        y = self.conv(x, name + ".conv1", first, True)
        y = self.conv(y, name + ".conv2", middle, bottleneck)
        if bottleneck:
            y = self.conv(y, name + ".conv3", 1, False)
        if name + ".downsample.0.weight" in self.weights:
            x = self.conv(x, name + ".downsample.0", stride, False)
        value = self.node("Add", [self.read(y), self.read(x)], name + ":sum")
        return self.write(self.node("Relu", [value], name))

    def build(self, taps):
        """{tap: the activation's name}. Nothing later than the last tap is written."""
        found, left = {}, set(taps)
        x = self.pool(self.conv(self.write("input"), "conv1", 2, True))
        stage = 1
        while left:
            blocks = {n.split(".")[1] for n in self.weights if n.startswith(f"layer{stage}.")}
            if not blocks:
                sys.exit(f"make_onnx: the weights have no {', '.join(sorted(left))}")
            for index in range(len(blocks)):
                x = self.block(x, f"layer{stage}.{index}", 2 if index == 0 and stage > 1 else 1)
            if f"layer{stage}" in left:
                found[f"layer{stage}"] = x
                left.remove(f"layer{stage}")
            stage += 1
        return found


class Quantised(Graph):
    def __init__(self, weights, metadata, ranges):
        super().__init__(weights, metadata)
        self.ranges, self.scales, self.reads = ranges, {}, 0

    def write(self, value):
        low, high = (min(self.ranges[value][0], 0.0), max(self.ranges[value][1], 0.0))
        scale = max(high - low, 1e-8) / 255.0
        self.scales[value] = np.float32(scale)
        self.constant(value + ":scale", np.array(scale, np.float32))
        self.constant(value + ":zero", np.array(min(255, max(0, round(-low / scale))), np.uint8))
        self.node("QuantizeLinear", [value, value + ":scale", value + ":zero"], value + ":q")
        return super().write(value)

    def read(self, value):
        self.reads += 1  # a DequantizeLinear of its own for every reader, as ONNX Runtime's own tool writes them
        inputs = [value + ":q", value + ":scale", value + ":zero"]
        return self.node("DequantizeLinear", inputs, f"{value}:dq{self.reads}")

    def filters(self, name, source):
        weight, bias = self.weights[name + ".weight"], self.weights[name + ".bias"]
        scale = np.maximum(np.abs(weight).max(axis=(1, 2, 3)), 1e-8).astype(np.float32) / np.float32(127)
        whole = np.clip(np.rint(weight / scale[:, None, None, None]), -127, 127).astype(np.int8)
        bias_scale = (scale * self.scales[source]).astype(np.float32)
        bias_whole = np.clip(np.rint(bias / bias_scale.astype(np.float64)), -(2**31), 2**31 - 1).astype(np.int32)
        names = []
        for leaf, values, step in ((".weight", whole, scale), (".bias", bias_whole, bias_scale)):
            inputs = [
                self.constant(name + leaf + ":q", values),
                self.constant(name + leaf + ":scale", step),
                self.constant(name + leaf + ":zero", np.zeros(len(scale), values.dtype)),
            ]
            names.append(self.node("DequantizeLinear", inputs, name + leaf, axis=0))
        return names


def write(graph, outputs, rank, args, path):
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, [args.batch, 3, args.height, args.width])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name in outputs]
    made = helper.make_graph(graph.nodes, "cozad", [source], values, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="cozad bench")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--kind", choices=["fp32", "ranges", "int8"], required=True)
    parser.add_argument("--taps", default="layer2,layer3")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--ranges")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    tensors, metadata = read_safetensors(args.weights)
    if args.kind == "int8":
        with open(args.ranges) as file:
            graph = Quantised(tensors, metadata, json.load(file))
    else:
        graph = Graph(tensors, metadata)
    taps = graph.build(args.taps.split(","))
    if args.kind == "ranges":
        # One output a reduction: only scalars leave the runtime.
        outputs = [
            graph.node(kind, [name], prefix + name, keepdims=0)
            for name in graph.activations
            for kind, prefix in (("ReduceMin", "min:"), ("ReduceMax", "max:"))
        ]
    else:
        outputs = [graph.node("Identity", [graph.read(name)], tap) for tap, name in taps.items()]
    write(graph, outputs, 0 if args.kind == "ranges" else 4, args, args.out)


if __name__ == "__main__":
    main()
