# SPDX-License-Identifier: Apache-2.0
"""Full-size checkpoints written by PyTorch in both formats, through the command line: same backbone, and features that match
PyTorch's. Usage: check_pth_formats.py COZAD [ARCHITECTURE...]. Slow, and needs about 1 GB below $TMPDIR."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

import hashweights
import resnet_torch
import safetensors_py

TAPS = ("layer1", "layer2", "layer3")


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def check(cozad, architecture, folder):
    torch.set_num_threads(2)
    model = resnet_torch.hash_weights(resnet_torch.ResNet(architecture, stages=4, fc=True), 1)
    image = hashweights.image(256, 256).astype(np.float32)
    with torch.no_grad():
        wanted = model(torch.from_numpy(image))
    source = os.path.join(folder, "input.safetensors")
    safetensors_py.save(source, {"input": image}, {})
    digests = set()
    for label, zipped in (("zip", True), ("legacy", False)):
        path = os.path.join(folder, f"{label}.pth")
        torch.save(model.state_dict(), path, _use_new_zipfile_serialization=zipped)
        facts = json.loads(run(cozad, "weights", "verify", "--json", path))
        assert facts["architecture"] == architecture, facts
        digests.add(facts["backbone_sha256"])
        out = os.path.join(folder, "out.safetensors")
        run(cozad, "features", "--tensor", f"{source}:input", "--backbone", path, "--tap", ",".join(TAPS), "-o", out)
        got, _ = safetensors_py.load(out)
        for tap in TAPS:
            reference = wanted[tap].numpy().astype(np.float64)
            error = np.linalg.norm(got[tap].astype(np.float64) - reference) / np.linalg.norm(reference)
            print(f"{architecture} {label} {tap}: relative L2 error {error:.2e}", flush=True)
            assert error <= 1e-5
        if zipped:
            converted = os.path.join(folder, "converted.safetensors")
            run(cozad, "weights", "convert", path, converted)
            digests.add(json.loads(run(cozad, "weights", "verify", "--json", converted))["backbone_sha256"])
            os.unlink(converted)
        os.unlink(path)
    assert len(digests) == 1, digests


def main():
    for architecture in sys.argv[2:] or ["wide_resnet50_2", "resnet50"]:
        with tempfile.TemporaryDirectory() as folder:
            check(sys.argv[1], architecture, folder)


if __name__ == "__main__":
    main()
