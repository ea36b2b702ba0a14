# SPDX-License-Identifier: Apache-2.0
"""Procedural pictures: crop(seed) is a 128 x 128 RGB picture made from the integer alone.

    python3 pictures.py --sheet sheet.png --first 0      # 96 of them side by side
    python3 pictures.py --time 200                       # milliseconds a crop
"""

import argparse
import io
import time

import numpy as np
from PIL import Image, ImageFilter

import scenes
from fields import S, X, Y, blur, pick, smooth, spectral, step

F32 = np.float32


def _scene(rng):
    group = scenes.TEXTURES if rng.random() < 0.55 else scenes.THINGS
    return scenes.coloured(rng, group[rng.integers(len(group))](rng))


def _joined(rng, one, other):
    """Two scenes with a border between: a straight or curved edge, a blob, or a blend."""
    kind = rng.integers(4)
    if kind == 3:
        return one + (other - one) * F32(rng.uniform(0.2, 0.6))
    if kind == 0:
        angle = rng.uniform(0, 2 * np.pi)
        d = X * F32(np.cos(angle)) + Y * F32(np.sin(angle)) + F32(rng.uniform(-0.6, 0.6))
        d = d + (X * X + Y * Y) * F32(rng.uniform(-0.4, 0.4))
    elif kind == 1:
        d = np.hypot(X - F32(rng.uniform(-1, 1)), Y - F32(rng.uniform(-1, 1))) - F32(rng.uniform(0.2, 1.2))
    else:
        d = spectral(rng, rng.uniform(1.2, 2)) - F32(rng.uniform(-0.5, 0.8))
    alpha = step(d, pick(rng, [0.015, 0.03, 0.2]))
    if rng.random() < 0.4:
        one = one * (1 - F32(rng.uniform(0.2, 0.7)) * blur(alpha, rng.uniform(2, 8)))[:, :, None]
    return one + (other - one) * alpha[:, :, None]


def _flawed(rng, picture):
    """Small local marks: spots, pits, dents and lines of another brightness or texture."""
    for _ in range(int(rng.integers(1, 6))):
        angle, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.2)
        x, y = X - F32(rng.uniform(-0.9, 0.9)), Y - F32(rng.uniform(-0.9, 0.9))
        u, v = x * F32(np.cos(angle)) + y * F32(np.sin(angle)), y * F32(np.cos(angle)) - x * F32(np.sin(angle))
        d = np.hypot(u * F32(pick(rng, [1, 1, 0.3, 0.08])), v) - F32(size * pick(rng, [0.3, 1]))
        d = d + (smooth(rng, 8) - F32(0.5)) * F32(size * rng.uniform(0, 1.5))
        alpha = step(d, rng.uniform(0.01, 0.06))[:, :, None] * F32(rng.uniform(0.2, 1))
        picture = picture + (rng.random(3).astype(F32) * F32(0.5) + F32(pick(rng, [0, 0.5])) - picture) * alpha
    return picture


def _exposed(rng, picture):
    """Light, contrast, colour: gray for a third of the crops."""
    if rng.random() < 0.35:
        slope = F32(rng.normal(0, 0.3)) * X + F32(rng.normal(0, 0.3)) * Y
        light = 1 + slope - F32(rng.uniform(0, 0.3)) * (X * X + Y * Y)
        picture = picture * light[:, :, None]
    if rng.random() < 0.33:
        picture = np.repeat((picture @ np.array([0.3, 0.59, 0.11], F32))[:, :, None], 3, 2)
    elif rng.random() < 0.3:
        gray = picture.mean(2, keepdims=True)
        picture = gray + (picture - gray) * F32(rng.uniform(0.2, 1.8))
    if rng.random() < 0.35:
        picture = np.maximum(picture, 0) ** F32(np.exp(rng.normal(0, 0.4)))
    mean, spread = picture.mean(), picture[::4, ::4].std()
    contrast = F32(np.exp(rng.normal(0, 0.35)))
    if spread < 0.08 and rng.random() < 0.8:  # flat scenes teach little
        contrast = F32(rng.uniform(0.06, 0.25)) / (spread + F32(0.01))
    low = min(0.5, 0.06 + 0.7 * float(spread * contrast))
    return (picture - mean) * contrast + F32(np.clip(mean + rng.normal(0, 0.15), low, 1 - low))


def _taken(rng, picture):
    """Blur, sensor noise and JPEG, as a camera adds them; returns 8 bits."""
    if rng.random() < 0.3:
        noise = rng.standard_normal((S, S), dtype=F32)[:, :, None]
        if rng.random() < 0.7:  # in colour: the same field, turned
            noise = np.concatenate([noise, noise[::-1], noise[:, ::-1]], 2)
        strength = F32(rng.uniform(0.003, 0.05))
        if rng.random() < 0.4:  # in large grains
            noise = noise + F32(2) * np.repeat(np.repeat(noise[::2, ::2], 2, 0), 2, 1)
        picture = picture + noise * strength
    image = Image.fromarray((np.clip(picture, 0, 1) * F32(255) + F32(0.5)).astype(np.uint8))
    if rng.random() < 0.4:
        radius = rng.uniform(0.3, 1.2) if rng.random() < 0.7 else rng.uniform(1, 3)
        image = image.filter(ImageFilter.GaussianBlur(radius))
    if rng.random() < 0.25:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(25, 95)))
        image = Image.open(file)
    return np.asarray(image)


def crop(seed):
    """[128, 128, 3] uint8 RGB of a seed >= 0. The same on every machine up to the libraries' rounding."""
    rng = np.random.Generator(np.random.PCG64(seed))
    picture = _scene(rng)
    if rng.random() < 0.3:
        picture = _joined(rng, picture, _scene(rng))
    if rng.random() < 0.2:
        picture = _flawed(rng, picture)
    return _taken(rng, _exposed(rng, picture))


def sheet(path, first, columns=12, rows=8):
    out = Image.new("RGB", (columns * S, rows * S))
    for i in range(columns * rows):
        out.paste(Image.fromarray(crop(first + i)), (i % columns * S, i // columns * S))
    out.save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sheet", help="PNG to write")
    parser.add_argument("--first", type=int, default=0, help="first seed (0)")
    parser.add_argument("--time", type=int, default=0, help="crops to time")
    options = parser.parse_args()
    if options.sheet:
        sheet(options.sheet, options.first)
    if options.time:
        begin = time.process_time()
        for i in range(options.time):
            crop(options.first + i)
        print(f"{(time.process_time() - begin) / options.time * 1e3:.2f} ms of processor time a crop")


if __name__ == "__main__":
    main()
