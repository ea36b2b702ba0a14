#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the small PyTorch checkpoints in pth/ that test_pth.c reads (PyTorch 1.13): python3 make_pth.py"""
import collections
import io
import os
import warnings
import zipfile

import torch

warnings.simplefilter("ignore")
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pth")
os.makedirs(here, exist_ok=True)


def basic():
    d = collections.OrderedDict()
    ramp = torch.arange(24, dtype=torch.float32)
    d["f32"] = (ramp * 0.5 - 3).reshape(2, 3, 4)
    d["f16"] = (ramp[:6] * 0.25).half().reshape(2, 3)
    d["bf16"] = (ramp[:5] - 2).bfloat16()
    d["f64"] = torch.arange(4, dtype=torch.float64) / 3
    d["i64"] = torch.arange(3) - 1
    d["i32"] = torch.arange(3, dtype=torch.int32) * -100000
    d["i8"] = torch.arange(3, dtype=torch.int8) - 2
    d["u8"] = torch.arange(3, dtype=torch.uint8) + 253
    d["scalar"] = torch.tensor(7)
    d["empty"] = torch.zeros(0, 5)
    shared = torch.arange(12, dtype=torch.float32)
    d["shared.all"] = shared
    d["shared.tail"] = shared[8:]
    d["shared.column"] = shared.reshape(3, 4)[:, 1]
    d["transposed"] = torch.arange(6, dtype=torch.float32).reshape(2, 3).t()
    d["expanded"] = torch.tensor([[5.0], [6.0]]).expand(2, 3)
    d["parameter"] = torch.nn.Parameter(torch.tensor([1.5, -2.5]))
    d._metadata = collections.OrderedDict({"": {"version": 1}, "bn": {"version": 2}})
    return d


def nested():
    inner = collections.OrderedDict([("conv1.weight", torch.full((2, 1, 3, 3), 0.5)), ("bn1.bias", torch.zeros(2))])
    momentum = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
    return {"epoch": 3, "arch": "resnet18", "best": 0.75, "none": None, "state_dict": inner, "optimizer": momentum}


def plain_nested():
    return {"a": {"b": torch.tensor([1.0, 2.0]), "n": 4}, "list": [torch.tensor([3.0])], "big": 1 << 100}


class Evil:
    def __reduce__(self):
        return os.system, ("echo unpickled",)


def rezip(name, data, method=zipfile.ZIP_STORED, change=None, extra=None):
    source = zipfile.ZipFile(io.BytesIO(data))
    with zipfile.ZipFile(os.path.join(here, name), "w", method) as z:
        for info in source.infolist():
            body = source.read(info.filename)
            z.writestr(zipfile.ZipInfo(info.filename), change(info.filename, body) if change else body, method)
        for entry, body in extra or []:
            z.writestr(zipfile.ZipInfo(entry), body, method)


def save(value, name, zipped, protocol=2):
    torch.save(value, os.path.join(here, name), pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)


for label, value in (("basic", basic()), ("nested", nested()), ("plain", plain_nested()), ("evil", {"x": Evil()}),
                     ("bool", {"flag": torch.tensor([True])}), ("list", [torch.ones(2)]), ("none", {"epoch": 1})):
    save(value, label + "_zip.pth", True)
    save(value, label + "_legacy.pth", False)
save(basic(), "protocol4_zip.pth", True, 4)
save(basic(), "protocol4_legacy.pth", False, 4)

small = io.BytesIO()
torch.save({"w": torch.zeros(64), "v": torch.arange(3.0)}, small)
small = small.getvalue()
rezip("deflated_zip.pth", small, zipfile.ZIP_DEFLATED)
rezip("big_endian_zip.pth", small, extra=[("archive/byteorder", b"big")])
rezip("little_endian_zip.pth", small, extra=[("archive/byteorder", b"little")])
rezip("duplicate_zip.pth", small, extra=[("archive/data/0", b"\0" * 256)])
rezip("two_pickles_zip.pth", small, extra=[("other/data.pkl", b"\x80\x02}.")])
rezip("short_storage_zip.pth", small, change=lambda n, b: b[:-4] if n == "archive/data/0" else b)
with zipfile.ZipFile(os.path.join(here, "bomb_zip.pth"), "w", zipfile.ZIP_DEFLATED) as z:
    pickle = zipfile.ZipFile(io.BytesIO(small)).read("archive/data.pkl").replace(b"K@", b"J\x00\x00\x40\x00")
    z.writestr("archive/data.pkl", pickle)
    z.writestr("archive/data/0", b"\0" * (4 << 22))
with zipfile.ZipFile(os.path.join(here, "no_pickle.zip"), "w") as z:
    z.writestr("readme.txt", "hello")
