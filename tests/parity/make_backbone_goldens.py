# SPDX-License-Identifier: Apache-2.0
"""Writes files/backbone_*.safetensors: 4,096 sampled values of each tap and of the patch features, computed by PyTorch in
double precision from fp32 weights and input. Usage: make_backbone_goldens.py [FOLDER with resnet50_msra.safetensors]"""
import os
import sys

import numpy as np
import torch

import hashweights
import resnet_torch
import safetensors_py

SEED, SIDE, SAMPLES = 1, 256, 4096
HERE = os.path.dirname(os.path.abspath(__file__))


def golden(name, model, metadata, factor=1.0, width=1536):
    with torch.no_grad():
        taps = model.double()(factor * torch.from_numpy(hashweights.image(SIDE, SIDE)).double())
        taps["patches"] = resnet_torch.patches([taps["layer2"], taps["layer3"]], width)
    tensors = {}
    for tap, values in taps.items():
        flat = values.numpy().reshape(-1)
        tensors[tap] = flat[hashweights.sample_indices(tap, flat.size, SAMPLES)].astype(np.float32)
        print(f"{name} {tap}: {tuple(values.shape)}, rms {np.sqrt(np.mean(flat**2)):.4f}", flush=True)
    metadata.update(input=f"hash image 1x3x{SIDE}x{SIDE}", layout=f"NCHW flattened; patches [P, {width}]")
    safetensors_py.save(os.path.join(HERE, "files", f"backbone_{name}.safetensors"), tensors, metadata)


def main():
    torch.set_num_threads(2)
    for architecture in ("resnet18", "resnet50", "wide_resnet50_2", "cozad_r32"):
        model = resnet_torch.hash_weights(resnet_torch.ResNet(architecture), SEED)
        width = 384 if architecture == "cozad_r32" else 1536
        golden(architecture, model, {"architecture": architecture, "weights": f"hash, seed {SEED}"}, width=width)
    if len(sys.argv) > 1:
        tensors, _ = safetensors_py.load(os.path.join(sys.argv[1], "resnet50_msra.safetensors"))
        model = resnet_torch.ResNet("resnet50", msra=True)
        state = {name: torch.from_numpy(values.astype(np.float32)) for name, values in tensors.items()}
        problems = model.load_state_dict(state, strict=False)
        assert not problems.unexpected_keys, problems
        assert all(key.endswith("num_batches_tracked") for key in problems.missing_keys), problems
        # a photo-like range: this network takes 0..255 minus the mean
        metadata = {"architecture": "resnet50 (MSRA)", "weights": "outside", "input_factor": "60"}
        golden("resnet50_msra", model, metadata, 60.0)


if __name__ == "__main__":
    main()
