# SPDX-License-Identifier: Apache-2.0
"""Reading and writing safetensors files with numpy alone (format: an 8-byte length, a JSON header, the tensors)."""

import json
import os
import struct

import numpy as np

_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def read(path):
    """Returns ({name: array}, metadata) of a safetensors file; ValueError for a type it does not know."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] not in _TYPES:
            raise ValueError(f"{path}: {name} has type {entry['dtype']}; known are {', '.join(_TYPES)}")
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data[begin:end], dtype=_TYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors, metadata


def write(path, tensors, metadata):
    """Writes {name: F16 or F32 array} in the order of the names, through a temporary file beside `path`."""
    header, chunks, at = {"__metadata__": metadata}, [], 0
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name])
        dtype = {np.dtype(np.float16): "F16", np.dtype(np.float32): "F32"}[values.dtype]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        chunks.append(values.tobytes())
        at += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))
    os.replace(temporary, path)
