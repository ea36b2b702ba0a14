# SPDX-License-Identifier: Apache-2.0
"""Random numbers from an integer hash of a name and an index: the twin of cz_name_hash, cz_hash_uniform (src/util/rng.c)
and of the weight recipe in src/backbone/fold.h. Needs numpy only."""
import numpy as np

MASK = (1 << 64) - 1


def name_hash(name, seed=0):
    """FNV-1a 64 over the seed's 8 bytes (little-endian) and the name."""
    value = 0xCBF29CE484222325
    for byte in seed.to_bytes(8, "little") + name.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def uniform(hash_value, count, first=0):
    """[count] float32 in [-1, 1): splitmix64(hash_value + index), top 24 bits."""
    with np.errstate(over="ignore"):
        z = np.arange(first, first + count, dtype=np.uint64) + np.uint64(hash_value) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def sample_indices(name, size, count=4096):
    """Which elements of a flattened tensor a golden file keeps; exact in double, so the same in C."""
    u = uniform(name_hash("sample:" + name), count).astype(np.float64)
    return ((u + 1.0) * 0.5 * size).astype(np.int64)


def image(height, width, batch=1):
    """A normalised network input [batch, 3, height, width], values in [-2, 2)."""
    return (np.float32(2) * uniform(name_hash("input"), batch * 3 * height * width)).reshape(batch, 3, height, width)


def weight(name, shape, seed, bottleneck):
    """One raw (not folded) tensor of random backbone weights, float32, see src/backbone/fold.h."""
    count = int(np.prod(shape))
    scale, shift = np.float32(0.1), np.float32(0)
    if len(shape) == 4:
        scale = np.float32(np.sqrt(6.0 / (shape[1] * shape[2] * shape[3])))
    elif name.endswith(".running_var"):
        scale, shift = np.float32(0.5), np.float32(1)
    elif name.endswith(".weight"):
        last = name.startswith("layer") and name.endswith(".bn3.weight" if bottleneck else ".bn2.weight")
        scale, shift = (np.float32(0.05), np.float32(0.25)) if last else (np.float32(0.2), np.float32(1))
    values = uniform(name_hash(name, seed), count)
    return (shift + scale * values).astype(np.float32).reshape(shape)
