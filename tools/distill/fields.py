# SPDX-License-Identifier: Apache-2.0
"""Fields: the float32 maps [S, S] that scenes are made of. S is 128 throughout; `rng` is a numpy Generator."""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import fft

S = 128
_AXIS = (np.arange(S, dtype=np.float32) - (S - 1) / 2) / (S / 2)
X, Y = np.meshgrid(_AXIS, _AXIS)  # -1 … 1, x to the right, y down


@functools.lru_cache(maxsize=None)
def _frequencies():
    fy, fx = np.fft.fftfreq(S).astype(np.float32)[:, None], np.fft.rfftfreq(S).astype(np.float32)[None, :]
    radius = np.hypot(fy, fx)
    radius[0, 0] = 1
    return fy, fx, np.log(radius)


def pick(rng, values):
    """One of a list; Generator.choice is slow on small lists."""
    return values[int(rng.integers(len(values)))]


def unit(field):
    """To 0 … 1."""
    low, high = float(field.min()), float(field.max())
    return (field - np.float32(low)) * np.float32(1 / (high - low + 1e-6))


def resize(field, size=S, how=Image.BICUBIC):
    return np.asarray(Image.fromarray(np.ascontiguousarray(field, np.float32), "F").resize((size, size), how))


def blur(field, sigma):
    """Gaussian blur of a field in 0 … 1, through 8 bits."""
    picture = Image.fromarray((np.clip(field, 0, 1) * 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma)), np.float32) * np.float32(1 / 255)


def spectral(rng, beta=None, stretch=1.0, angle=0.0):
    """Gaussian noise of power spectrum 1/f^(2 beta), mean 0, variance 1; stretch > 1 draws it out along angle."""
    beta = rng.uniform(0.5, 1.8) if beta is None else beta
    fy, fx, log_radius = _frequencies()
    if stretch != 1:
        c, s = np.cos(angle), np.sin(angle)
        log_radius = np.log(np.hypot((fx * c + fy * s) * stretch, fy * c - fx * s) + np.float32(1e-3))
    spectrum = fft.rfft2(rng.standard_normal((S, S), dtype=np.float32))
    spectrum *= np.exp(log_radius * np.float32(-beta))
    spectrum[0, 0] = 0
    field = fft.irfft2(spectrum, s=(S, S))
    return field * np.float32(1 / (np.sqrt(np.dot(field.ravel(), field.ravel()) / field.size) + 1e-6))


def smooth(rng, cells=None):
    """Value noise: a coarse random grid, upsampled; 0 … 1 about."""
    cells = int(rng.integers(2, 24)) if cells is None else cells
    return resize(rng.random((cells + 3, cells + 3), dtype=np.float32))


def fractal(rng, octaves=4, cells=None, gain=None):
    """Octaves of value noise, 0 … 1; the sum, ridges or billows."""
    cells = int(rng.integers(2, 9)) if cells is None else cells
    gain = rng.uniform(0.4, 0.75) if gain is None else gain
    kind, total, weight = rng.integers(3), np.zeros((S, S), np.float32), 1.0
    for _ in range(octaves):
        octave = smooth(rng, min(cells, 90))
        if kind:
            octave = np.abs(octave * 2 - 1)
        total += octave * np.float32(weight)
        cells, weight = cells * 2, weight * gain
    return unit(-total if kind == 2 else total)


def rotated(angle, zoom=1.0, cx=0.0, cy=0.0):
    """The coordinates in a frame turned by angle about (cx, cy), multiplied by zoom."""
    c, s = np.float32(np.cos(angle) * zoom), np.float32(np.sin(angle) * zoom)
    x, y = X - np.float32(cx), Y - np.float32(cy)
    return x * c + y * s, y * c - x * s


def warped(rng, amount):
    """X and Y displaced by smooth noise."""
    cells = int(rng.integers(1, 7))
    return X + (smooth(rng, cells) - 0.5) * np.float32(amount), Y + (smooth(rng, cells) - 0.5) * np.float32(amount)


def line_noise(rng, at, cells):
    """1-D noise of `cells` cells per unit, read at the coordinates `at` (wraps round every 8 units)."""
    table = rng.random(int(cells * 8) + 2, dtype=np.float32)
    position = (at + 8) * np.float32(cells)
    index = position.astype(np.int32)
    part = position - index
    low, high = table[index % len(table)], table[(index + 1) % len(table)]
    return low + (high - low) * part


def cells(rng, count, jitter=None):
    """Voronoi cells: (nearest distance, second nearest - nearest, index of the nearest), distances in units of X."""
    if jitter is None:
        points = rng.uniform(-1.15, 1.15, (count, 2))
    else:
        side = int(np.ceil(np.sqrt(count)))
        grid = np.stack(np.meshgrid(*[np.linspace(-1.1, 1.1, side)] * 2), -1).reshape(-1, 2)
        grid[:, 0] += (np.arange(len(grid)) // side % 2) * (1.1 / side)
        points = grid + rng.uniform(-jitter, jitter, grid.shape) / side
    points = points.astype(np.float32)
    squared = (-2 * points) @ np.stack([X.ravel(), Y.ravel()]) + (points ** 2).sum(1)[:, None]
    index = squared.argmin(0)
    columns = np.arange(S * S)
    first = squared[index, columns]
    squared[index, columns] = 99
    second = squared.min(0)
    offset = X.ravel() ** 2 + Y.ravel() ** 2
    first, second = np.sqrt(np.maximum(first + offset, 0)), np.sqrt(np.maximum(second + offset, 0))
    return first.reshape(S, S), (second - first).reshape(S, S), index.reshape(S, S)


def drawing(fill=0, scale=1):
    """An 8-bit picture and its pen; scale 2 is for mask() to smooth the edges."""
    picture = Image.new("L", (S * scale, S * scale), fill)
    return picture, ImageDraw.Draw(picture)


def mask(picture):
    """A drawing as a field 0 … 1 of S x S."""
    if picture.size != (S, S):
        picture = picture.resize((S, S), Image.BOX)
    return np.asarray(picture, np.float32) * np.float32(1 / 255)


def shade(rng, height, bump=None, specular=None):
    """Lambert and Phong shading of a height map under one light; 0 … 1.3 about."""
    bump = rng.uniform(2, 12) if bump is None else bump
    gy, gx = np.empty_like(height), np.empty_like(height)
    gy[1:-1] = height[2:] - height[:-2]
    gy[0], gy[-1] = gy[1], gy[-2]
    gx[:, 1:-1] = height[:, 2:] - height[:, :-2]
    gx[:, 0], gx[:, -1] = gx[:, 1], gx[:, -2]
    gx, gy = gx * np.float32(bump), gy * np.float32(bump)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 1.35)
    lx, ly, lz = np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)
    cosine = (lz - gx * np.float32(lx) - gy * np.float32(ly)) / np.sqrt(gx * gx + gy * gy + 1)
    np.maximum(cosine, 0, out=cosine)
    shine = rng.uniform(0, 0.8) * (rng.random() < 0.5) if specular is None else specular
    ambient = np.float32(rng.uniform(0.05, 0.4))
    light = ambient + (1 - ambient) * cosine
    if shine > 0.02:
        squared = cosine * cosine
        for _ in range(int(rng.integers(1, 4))):
            squared = squared * squared
        light = light + np.float32(shine) * squared
    return light


def distance_polygon(x, y, sides, radius):
    """Signed distance (about) to a regular polygon; negative inside."""
    angle = np.arctan2(y, x)
    sector = np.float32(2 * np.pi / sides)
    return np.hypot(x, y) * np.cos(np.remainder(angle, sector) - sector / 2) - np.float32(radius * np.cos(sector / 2))


def step(field, softness=0.02):
    """1 where the field is negative, 0 where positive, a ramp of +-softness between."""
    return np.clip(np.float32(0.5) - field * np.float32(0.5 / softness), 0, 1)
