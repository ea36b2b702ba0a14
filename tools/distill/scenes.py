# SPDX-License-Identifier: Apache-2.0
"""Scenes: from a Generator, a gray field [S, S] or a colour picture [S, S, 3], float32, about 0 … 1."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fields import (S, X, Y, blur, cells, distance_polygon, drawing, fractal, line_noise, mask, pick, rotated, shade,
                    smooth, spectral, step, unit, warped)

TURN = 2 * np.pi
F32 = np.float32


# ---- colours -------------------------------------------------------------------------------------------------------

def palette(rng, count):
    """[count, 3] colours around a common one: gray, related or any."""
    base, spread = rng.random(3), pick(rng, [0.08, 0.25, 0.6])
    colours = base + rng.uniform(-spread, spread, (count, 3))
    if rng.random() < 0.3:
        colours = colours.mean(1, keepdims=True) + rng.uniform(-0.05, 0.05, (1, 3))
    colours += rng.uniform(-0.3, 0.3, (count, 1))
    return np.clip(colours, 0, 1).astype(F32)


def ramp(rng, field):
    """A gray field through a colour map of 2 … 4 knots."""
    knots = int(rng.integers(2, 5))
    colours = palette(rng, knots)
    if rng.random() < 0.6:
        colours = colours[np.argsort(colours.sum(1))]
    table = np.stack([np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, knots), colours[:, c]) for c in range(3)], 1)
    return np.take(table.astype(F32), (np.clip(field, 0, 1) * F32(255)).astype(np.uint8), axis=0)


def tinted(rng, field):
    """A gray field under one colour; keeps highlights above 1."""
    colour = np.clip(rng.uniform(0.25, 1) + rng.uniform(-0.3, 0.3, 3) * rng.random(), 0.05, 1.1)
    return field[:, :, None] * colour.astype(F32)


def painted(rng, index, count):
    return palette(rng, count)[index % count]


# ---- textures ------------------------------------------------------------------------------------------------------

def natural(rng):
    """Colour noise with the spectrum of photos, channels correlated."""
    beta = rng.uniform(0.7, 1.6)
    field = np.stack([spectral(rng, beta), spectral(rng, beta) * F32(rng.uniform(0, 0.6))], -1)
    mix = np.concatenate([np.ones((1, 3)) + rng.normal(0, 0.15, (1, 3)), rng.normal(0, 0.6, (1, 3))])
    picture = field @ (mix * rng.uniform(0.08, 0.25)).astype(F32) + rng.uniform(0.3, 0.7, 3).astype(F32)
    return picture


def noise(rng):
    field = fractal(rng) if rng.random() < 0.6 else unit(spectral(rng))
    if rng.random() < 0.3:  # plateaus
        levels = F32(rng.uniform(2, 7))
        field = np.floor(field * levels) / levels
    elif rng.random() < 0.3:
        field = F32(0.5) + F32(0.5) * np.sin(field * F32(rng.uniform(6, 40)))
    return field


def marble(rng):
    x, _ = rotated(rng.uniform(0, TURN), rng.uniform(2, 14))
    return F32(0.5) + F32(0.5) * np.sin(x + fractal(rng, 4) * F32(rng.uniform(2, 14)))


def wood(rng):
    x, y = rotated(rng.uniform(0, TURN), 1, *rng.uniform(-2, 2, 2))
    radius = np.hypot(x * F32(rng.uniform(1, 3)), y * F32(rng.uniform(0.1, 1))) + smooth(rng, 3) * F32(0.25)
    rings = np.remainder(radius * F32(rng.uniform(4, 16)), 1)
    angle = rng.uniform(0, TURN)
    return rings * F32(0.6) + unit(spectral(rng, 0.8, rng.uniform(6, 25), angle)) * F32(0.5)


def grain(rng):
    """Fine isotropic surfaces: plaster, cast metal, rubber, paper."""
    height = spectral(rng, rng.uniform(0.0, 1.0)) * F32(rng.uniform(0.01, 0.06))
    return shade(rng, height, rng.uniform(1, 10)) * F32(rng.uniform(0.3, 0.9))


def speckles(rng):
    """Granite, terrazzo: thresholded noises over each other."""
    picture = np.full((S, S), F32(rng.uniform(0.2, 0.8)))
    for _ in range(int(rng.integers(1, 4))):
        spots = spectral(rng, rng.uniform(0.3, 1.3))
        weight = np.clip((spots - F32(rng.uniform(0.2, 1.8))) * F32(rng.uniform(2, 12)), 0, 1)
        picture += (F32(rng.random()) - picture) * weight
    return picture


def voronoi(rng):
    first, edge, index = cells(rng, int(rng.integers(5, 60)), None if rng.random() < 0.6 else rng.uniform(0, 0.8))
    kind = rng.integers(5)
    if kind == 0:
        return unit(first)
    if kind == 1:  # leather, cracked ground
        return shade(rng, np.minimum(edge, F32(rng.uniform(0.03, 0.2))) + spectral(rng, 1.2) * F32(0.01))
    flat = painted(rng, index, 61)
    joint = step(edge - F32(rng.uniform(0, 0.06)), 0.015)[:, :, None]
    if kind == 2:
        return flat + (palette(rng, 1) - flat) * joint
    if kind == 3:  # cells with gradients
        return flat * (F32(0.4) + unit(first)[:, :, None]) + (palette(rng, 1) - flat) * joint * F32(0.5)
    return flat * (F32(0.5) + noise(rng)[:, :, None])


def dead_leaves(rng):
    """Overlapping discs, rectangles or polygons with power-law sizes, coloured, some textured."""
    picture, pen = drawing()
    count = int(rng.integers(20, 160))
    low = rng.uniform(2, 8)
    radii = low / np.maximum(rng.random(count), 1e-3) ** rng.uniform(0.4, 0.9)
    centres, spins = rng.uniform(-10, S + 10, (count, 2)), rng.uniform(0, TURN, count)
    stretch, shape = rng.uniform(0.3, 1, count), rng.integers(4)
    for i in range(count):
        r, (cx, cy) = min(radii[i], 60), centres[i]
        kind = shape if shape < 3 else i % 3
        if kind == 0:
            pen.ellipse([cx - r, cy - r * stretch[i], cx + r, cy + r * stretch[i]], fill=1 + i)
            continue
        corners = 4 if kind == 1 else 3 + i % 4
        angles = spins[i] + np.arange(corners) * (TURN / corners)
        pen.polygon([(cx + r * np.cos(a), cy + r * stretch[i] * np.sin(a)) for a in angles], fill=1 + i)
    index = np.asarray(picture)
    flat = painted(rng, index, 256)
    if rng.random() < 0.7:  # texture, of another strength on every leaf
        strength = (rng.random(256) * rng.random() * (rng.random(256) < 0.7)).astype(F32)[index]
        flat = flat * (1 + strength * (any_texture(rng) - F32(0.5)) * 2)[:, :, None]
    if rng.random() < 0.4:
        slope = rng.normal(0, 0.6, (2, 256)).astype(F32)
        flat = flat * (1 + slope[0][index] * X + slope[1][index] * Y)[:, :, None]
    return flat


def fabric(rng):
    """Warp over weft: plain, twill, satin or a random draft; every thread a small cylinder."""
    x, y = rotated(rng.uniform(0, TURN) if rng.random() < 0.6 else 0.0)
    if rng.random() < 0.7:
        dx, dy = warped(rng, rng.uniform(0, 0.12))
        x, y = x + (dx - X), y + (dy - Y)
    threads = rng.uniform(6, 30)
    u, v = (x + 4) * F32(threads), (y + 4) * F32(threads * rng.uniform(0.7, 1.4))
    iu, iv = u.astype(np.int32), v.astype(np.int32)
    period = int(rng.integers(2, 7))
    shift, over = int(rng.integers(1, period)), int(rng.integers(1, period))
    if rng.random() < 0.75:
        top = np.remainder(iu + iv * shift, period) < over
    else:
        top = (rng.random((period, period)) < 0.5)[iu % period, iv % period]
    across = np.where(top, u - iu, v - iv) - F32(0.5)
    along = np.where(top, v - iv, u - iu) - F32(0.5)
    light = 1 - F32(rng.uniform(1, 3.6)) * across * across - F32(rng.uniform(0, 1.2)) * along * along
    lean = F32(rng.uniform(-0.6, 0.6))
    light = light + lean * across + (spectral(rng, 0.4)) * F32(rng.uniform(0, 0.12))
    warp, weft = palette(rng, 8)[iu % rng.integers(1, 9)], palette(rng, 8)[iv % rng.integers(1, 9)]
    if rng.random() < 0.4:
        weft = warp
    return np.where(top[:, :, None], warp, weft) * light[:, :, None]


def knit(rng):
    """V-shaped stitches, nets and chains."""
    x, y = rotated(rng.uniform(0, TURN), rng.uniform(4, 16))
    zigzag = np.abs(np.remainder(x, 2) - 1) * F32(rng.uniform(0.3, 1.5))
    strands = np.abs(np.remainder(y + zigzag, 1) - F32(0.5)) * 2
    return shade(rng, np.sqrt(np.maximum(1 - strands * strands, 0)) * F32(0.1) + spectral(rng, 0.8) * F32(0.006))


def brushed(rng):
    angle = rng.uniform(0, TURN)
    lines = spectral(rng, rng.uniform(0.1, 0.9), rng.uniform(8, 60), angle)
    x, y = rotated(angle)
    sheen = F32(rng.uniform(0, 0.4)) * np.cos(y * F32(rng.uniform(1, 5)) + F32(rng.uniform(0, TURN)))
    return F32(rng.uniform(0.3, 0.7)) + lines * F32(rng.uniform(0.02, 0.12)) + sheen


def turned(rng):
    """Turned and milled faces: grooves round a centre, light that depends on the angle."""
    x, y = rotated(rng.uniform(0, TURN), 1, *rng.uniform(-1.6, 1.6, 2))
    radius = np.hypot(x, y)
    grooves = line_noise(rng, radius, rng.uniform(15, 60)) - F32(0.5)
    if rng.random() < 0.5:
        grooves += F32(0.5) * np.sin(radius * F32(rng.uniform(20, 120)))
    angle = np.arctan2(y, x)
    fan = np.cos(angle * F32(rng.integers(1, 4)) + F32(rng.uniform(0, TURN)))
    return F32(0.5) + grooves * F32(rng.uniform(0.05, 0.35)) * (1 + fan * F32(0.6)) + fan * F32(rng.uniform(0, 0.35))


def knurled(rng):
    x, y = rotated(rng.uniform(0, TURN), rng.uniform(4, 16))
    skew = F32(rng.uniform(0.3, 1))
    a, b = np.abs(np.remainder(x + y * skew, 1) - F32(0.5)), np.abs(np.remainder(x - y * skew, 1) - F32(0.5))
    height = a + b if rng.random() < 0.5 else np.minimum(np.maximum(a, b), F32(rng.uniform(0.25, 0.5)))
    return shade(rng, height * F32(0.1) + spectral(rng, 1) * F32(0.003))


def grating(rng):
    x, y = warped(rng, rng.uniform(0, 0.5)) if rng.random() < 0.4 else (X, Y)
    angle, frequency = rng.uniform(0, TURN), rng.uniform(3, 60)
    u = x * F32(np.cos(angle) * frequency) + y * F32(np.sin(angle) * frequency)
    v = y * F32(np.cos(angle) * frequency) - x * F32(np.sin(angle) * frequency)
    kind = rng.integers(6)
    if kind == 0:
        field = np.sin(u)
    elif kind == 1:  # bars
        field = np.clip((np.sin(u) - F32(rng.uniform(-0.8, 0.8))) * 6, -1, 1)
    elif kind == 2:  # dots, holes
        field = np.clip((np.sin(u) * np.sin(v) - F32(rng.uniform(-0.4, 0.7))) * F32(rng.uniform(1, 8)), -1, 1)
    elif kind == 3:  # chirp
        field = np.sin(u * (x + F32(1.3)) * F32(0.5))
    elif kind == 4:  # rings
        field = np.sin(np.hypot(x - F32(rng.uniform(-1, 1)), y - F32(rng.uniform(-1, 1))) * F32(frequency))
    else:  # moire, plaid
        field = F32(0.5) * (np.sin(u) + np.sin(v * F32(rng.uniform(0.3, 1.2)) + u * F32(rng.uniform(0, 0.3))))
    window = np.exp((-X * X - Y * Y) * F32(rng.uniform(0.5, 6))) if rng.random() < 0.2 else F32(1)
    return F32(0.5) + field * window * F32(rng.uniform(0.1, 0.5))


def tiles(rng):
    """Bricks, tiles, honeycombs with joints, each tile of its own tone."""
    x, y = rotated(rng.uniform(0, TURN) if rng.random() < 0.5 else 0.0, rng.uniform(2, 9))
    x, y = x + 16, y * F32(rng.uniform(0.7, 2.5)) + 32
    row = np.floor(y)
    x = x + row * F32(pick(rng, [0, 0.5, 0.33, 0.1]))
    column = np.floor(x)
    edge = np.minimum(F32(0.5) - np.abs(x - column - F32(0.5)), F32(0.5) - np.abs(y - row - F32(0.5)))
    width = rng.uniform(0.02, 0.15)
    joint = step(edge - F32(width), 0.04)
    if rng.random() < 0.4:
        return shade(rng, np.minimum(edge, F32(width * 2)) * F32(0.5) + spectral(rng) * F32(0.01))
    index = (column * 7 + row * 13).astype(np.int32)
    flat = painted(rng, index, int(rng.integers(1, 30))) * (F32(0.8) + F32(0.4) * noise(rng))[:, :, None]
    return flat + (palette(rng, 1) - flat) * joint[:, :, None]


def any_texture(rng):
    """Any gray texture."""
    field = GRAY[rng.integers(len(GRAY))](rng)
    return field if field.ndim == 2 else field.mean(2)


# ---- things --------------------------------------------------------------------------------------------------------

def _profile(rng, inside):
    """The height over the distance to the edge: bevel, dome, cone or step."""
    kind = rng.integers(4)
    if kind == 0:
        return np.minimum(inside, F32(rng.uniform(0.03, 0.15)))
    if kind == 1:
        reach = F32(rng.uniform(0.2, 0.8))
        part = 1 - np.minimum(inside / reach, 1)
        return np.sqrt(np.maximum(1 - part * part, 0)) * reach
    if kind == 2:
        return inside * F32(rng.uniform(0.3, 1.2))
    return np.clip(inside * F32(rng.uniform(4, 15)), 0, 1) * F32(0.1)


def _outline(rng):
    """(signed distance, x, y) of one part: ellipse, box, polygon, nut, gear, capsule or cross."""
    size = rng.uniform(0.25, 0.95)
    x, y = rotated(rng.uniform(0, TURN), 1, *rng.uniform(-0.6, 0.6, 2))
    kind = rng.integers(7)
    if kind == 0:
        aspect = F32(rng.uniform(0.4, 1))
        d = (np.hypot(x, y / aspect) - F32(size)) * aspect
    elif kind == 1:
        a, b, r = size, size * rng.uniform(0.2, 1), size * rng.uniform(0, 0.2)
        qx, qy = np.abs(x) - F32(a - r), np.abs(y) - F32(b - r)
        d = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0) - F32(r)
    elif kind == 2:
        d = distance_polygon(x, y, int(rng.integers(3, 9)), size)
    elif kind == 3:
        d = distance_polygon(x, y, int(pick(rng, [4, 6, 6, 8])), size)
    elif kind == 4:
        teeth = np.cos(np.arctan2(y, x) * F32(rng.integers(3, 24)))
        d = np.hypot(x, y) - F32(size) * (1 - F32(rng.uniform(0.03, 0.2)) * np.clip(teeth * 3, -1, 1))
    elif kind == 5:
        length = F32(size)
        d = np.hypot(x - np.clip(x, -length, length), y) - F32(size * rng.uniform(0.08, 0.4))
    else:
        bar = F32(size * rng.uniform(0.1, 0.35))
        d = np.minimum(np.maximum(np.abs(x) - F32(size), np.abs(y) - bar),
                       np.maximum(np.abs(y) - F32(size), np.abs(x) - bar))
    if kind == 3 or rng.random() < 0.25:  # a hole
        d = np.maximum(d, F32(size * rng.uniform(0.15, 0.6)) - np.hypot(x, y))
    if rng.random() < 0.12:  # a shell
        d = np.abs(d) - F32(rng.uniform(0.02, 0.08))
    return d, x, y


def _surface(rng, shape_light):
    """A shaded part's colour: plain, metal or textured."""
    kind = rng.integers(4)
    if kind == 0:
        return tinted(rng, shape_light)
    texture = (any_texture(rng) if kind == 1 else brushed(rng) if kind == 2 else noise(rng))
    amount = F32(rng.uniform(0.1, 0.9))
    return tinted(rng, shape_light * (1 - amount + amount * 2 * texture))


def _placed(rng, ground, part, distance, softness=0.02):
    """A part on a ground, with or without a shadow."""
    alpha = step(distance, softness)
    if rng.random() < 0.5:
        dx, dy = (int(v) for v in rng.integers(-10, 11, 2))
        shadow = blur(np.roll(alpha, (dy, dx), (0, 1)), rng.uniform(1, 6))
        ground = ground * (1 - shadow * F32(rng.uniform(0.2, 0.8)))[:, :, None]
    return ground + (part - ground) * alpha[:, :, None]


def parts(rng):
    """Shaded solid parts on a ground."""
    picture = ground(rng)
    for _ in range(int(pick(rng, [1, 1, 1, 2, 3, 5]))):
        d, _, _ = _outline(rng)
        height = _profile(rng, np.maximum(-d, 0))
        if rng.random() < 0.3:
            height = height + spectral(rng, 1.2) * F32(rng.uniform(0, 0.01))
        picture = _placed(rng, picture, _surface(rng, shade(rng, height)), d)
    return picture


def balls(rng):
    """Spheres, capsules and bottles lit from one side."""
    picture = ground(rng)
    light = rng.normal(0, 1, 3)
    light[2] = abs(light[2]) + 0.4
    light = (light / np.linalg.norm(light)).astype(F32)
    for _ in range(int(pick(rng, [1, 1, 2, 4, 8]))):
        x, y = rotated(rng.uniform(0, TURN), 1 / rng.uniform(0.12, 1.1), *rng.uniform(-0.8, 0.8, 2))
        x = x - np.clip(x, 0, F32(pick(rng, [0, 0, 1, 4])))
        r2 = x * x + y * y
        z = np.sqrt(np.maximum(1 - r2, 0))
        cosine = np.clip(x * light[0] + y * light[1] + z * light[2], 0, 1)
        shine = cosine ** F32(pick(rng, [8, 30, 90])) * F32(rng.uniform(0, 0.9))
        part = _surface(rng, F32(rng.uniform(0.05, 0.3)) + cosine * F32(0.8)) + shine[:, :, None]
        picture = _placed(rng, picture, part, r2 - 1, 0.08)
    return picture


def screw(rng):
    """A threaded rod with a head, seen from the side."""
    picture = ground(rng)
    x, y = rotated(rng.uniform(0, TURN), 1, *rng.uniform(-0.4, 0.4, 2))
    radius, pitch = rng.uniform(0.08, 0.45), rng.uniform(8, 40)
    lean = F32(rng.uniform(-0.4, 0.4))
    phase = (x + y * lean) * F32(pitch * np.pi)
    thread = np.abs(np.sin(phase * F32(0.5))) if rng.random() < 0.5 else F32(0.5) + F32(0.5) * np.sin(phase)
    start, end, neck = -rng.uniform(0, 1.2), rng.uniform(0.2, 1.5), rng.uniform(0, 0.5)
    cut = step(F32(start + neck) - x, 0.02)
    shaft = F32(radius) * (1 - F32(rng.uniform(0.1, 0.3)) * (1 - thread) * cut)
    if rng.random() < 0.5:  # a tip
        shaft = shaft * np.clip((F32(end) - x) * F32(rng.uniform(1.5, 5)), 0, 1)
    across = np.clip(y / (shaft + F32(1e-3)), -1, 1)
    height = np.sqrt(1 - across * across) * shaft
    d = np.maximum(np.abs(y) - shaft, np.maximum(F32(start) - x, x - F32(end)))
    if rng.random() < 0.6:
        wide = F32(radius * rng.uniform(1.3, 2.4))
        head = np.maximum(np.abs(y) - wide, np.abs(x - F32(start)) - F32(rng.uniform(0.08, 0.3)))
        inside = head < 0
        height = np.where(inside, np.sqrt(np.maximum(1 - (y / wide) ** 2, 0)) * wide, height)
        d = np.minimum(d, head)
    light = shade(rng, height, rng.uniform(4, 9))
    return _placed(rng, picture, _surface(rng, light), d)


def text(rng):
    """Printed lines of type, stamped or embossed; letters of PIL's built-in font or of random strokes."""
    if rng.random() < 0.6:
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz.-:/#%"
        zoom = rng.uniform(1.2, 6)
        side = int(S * 1.5 / zoom) + 8
        picture = Image.new("L", (side, side), 0)
        pen, font, y = ImageDraw.Draw(picture), ImageFont.load_default(), int(rng.integers(-6, 4))
        while y < side:
            line = "".join(letters[i] for i in rng.integers(0, len(letters), side // 6 + 1))
            pen.text((int(rng.integers(-5, 5)), y), line.replace("%", " "), fill=255, font=font)
            y += int(rng.integers(11, 16))
        large = np.asarray(picture.resize((int(side * zoom),) * 2, Image.BICUBIC).rotate(
            pick(rng, [0, 0, 90, rng.uniform(-180, 180)]), Image.BILINEAR), F32) * F32(1 / 255)
        top = (large.shape[0] - S) // 2
        ink = np.clip((large[top:top + S, top:top + S] - F32(0.45)) * 5, 0, 1)
    else:
        picture, pen = drawing(0, 2)
        size, angle = rng.uniform(14, 60), rng.uniform(-0.3, 0.3)
        width = max(1, int(size * rng.uniform(0.06, 0.22)))
        for y in np.arange(0, 2 * S, size * 1.5):
            for x in np.arange(0, 2 * S, size):
                stops = rng.integers(0, 3, (int(rng.integers(2, 5)), 2)) * [size * 0.3, size * 0.5]
                pen.line([(x + a, y + b + x * angle) for a, b in stops], fill=255, width=width, joint="curve")
        ink = mask(picture)
    if rng.random() < 0.3:
        relief = blur(ink, rng.uniform(0.5, 2)) * F32(rng.uniform(-0.2, 0.2))
        return tinted(rng, shade(rng, relief + grain(rng) * F32(0.02)))
    paper = ground(rng) if rng.random() < 0.6 else np.ones((S, S, 3), F32) * palette(rng, 1)
    return paper + (palette(rng, 1) - paper) * (ink * F32(rng.uniform(0.4, 1)))[:, :, None]


def xray(rng):
    """Soft overlapping bodies that absorb: blobs, tubes, rings; gray."""
    thickness = fractal(rng, 3) * F32(rng.uniform(0, 0.8))
    for _ in range(int(rng.integers(2, 9))):
        x, y = rotated(rng.uniform(0, TURN), 1 / rng.uniform(0.15, 1), *rng.uniform(-1, 1, 2))
        x = x * F32(rng.uniform(0.15, 1)) + F32(rng.uniform(-0.4, 0.4)) * y * y
        r = np.hypot(x, y)
        kind = rng.integers(3)
        if kind == 0:
            body = np.sqrt(np.maximum(1 - r * r, 0))
        elif kind == 1:
            body = np.exp(-2 * r * r)
        else:  # a shell: bone
            body = np.exp(-((r - F32(0.8)) * F32(rng.uniform(4, 14))) ** 2)
        thickness = thickness + body * F32(rng.uniform(-0.3, 0.9))
    field = np.exp(-thickness * F32(rng.uniform(0.6, 2)))
    return field if rng.random() < 0.5 else F32(0.95) - F32(0.9) * unit(field)


def edges(rng):
    """Straight and curved edges, corners, wedges and checkers between gradients."""
    picture = np.ones((S, S, 3), F32) * palette(rng, 1)
    for _ in range(int(rng.integers(1, 7))):
        x, y = rotated(rng.uniform(0, TURN), 1, *rng.uniform(-0.8, 0.8, 2))
        kind = rng.integers(4)
        d = (x + y * y * F32(rng.uniform(-1, 1)), np.maximum(x, y), np.abs(x) - F32(rng.uniform(0.01, 0.3)),
             np.maximum(x, -x - y * F32(rng.uniform(0.3, 3))))[kind]
        slope = 1 + rng.normal(0, 0.4) * X + rng.normal(0, 0.4) * Y
        tone = palette(rng, 1) * slope.astype(F32)[:, :, None]
        picture = picture + (tone - picture) * step(d, pick(rng, [0.01, 0.02, 0.1, 0.5]))[:, :, None]
    if rng.random() < 0.15:
        x, y = rotated(rng.uniform(0, TURN), rng.uniform(2, 10))
        picture = picture * (F32(0.6) + F32(0.4) * np.sign(np.sin(x) * np.sin(y)))[:, :, None]
    return picture


def circuit(rng):
    """Tracks, pads and packages."""
    picture, pen = drawing(0, 2)
    pitch = int(rng.integers(8, 28))
    for _ in range(int(rng.integers(5, 25))):
        at = rng.integers(0, 2 * S // pitch, 2) * pitch
        points = [tuple(int(v) for v in at)]
        for _ in range(int(rng.integers(1, 4))):
            turn, length = rng.integers(8), int(rng.integers(1, 6)) * pitch
            at = at + np.round(np.array([np.cos(turn * TURN / 8), np.sin(turn * TURN / 8)]) * length).astype(int)
            points.append(tuple(int(v) for v in at))
        pen.line(points, fill=140, width=max(1, pitch // int(rng.integers(2, 6))))
        for x, y in points[::2]:
            r = pitch // 2 + 1
            pen.ellipse([x - r, y - r, x + r, y + r], fill=255)
    for _ in range(int(rng.integers(0, 4))):
        x, y, w, h = (int(v) for v in rng.integers([0, 0, 12, 12], [2 * S, 2 * S, 110, 110]))
        pen.rectangle([x, y, x + w, y + h], fill=70)
    field = mask(picture)
    return ramp(rng, field * F32(0.9) + noise(rng) * F32(rng.uniform(0, 0.15)))


def scribble(rng):
    """Curves and hairs: fibres, scratches, cracks, cables."""
    picture, pen = drawing(0, 2)
    for _ in range(int(rng.integers(2, 40))):
        count = int(rng.integers(6, 20))
        angle = rng.uniform(0, TURN) + np.cumsum(rng.normal(0, pick(rng, [0.05, 0.3, 0.8]), count))
        path = rng.uniform(0, 2 * S, 2) + np.cumsum(np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(4, 24), 0)
        pen.line([tuple(p) for p in path], fill=int(rng.integers(80, 256)), width=int(pick(rng, [1, 2, 3, 6, 14])),
                 joint="curve")
    ink = mask(picture)
    if rng.random() < 0.35:
        return tinted(rng, shade(rng, blur(ink, 1.5) * F32(rng.uniform(-0.3, 0.3)) + spectral(rng, 1.2) * F32(0.01)))
    paper = ground(rng)
    return paper + (palette(rng, 1) - paper) * ink[:, :, None]


GRAY = (noise, marble, wood, grain, speckles, brushed, turned, knurled, grating, knit)
TEXTURES = GRAY + (natural, natural, voronoi, dead_leaves, fabric, fabric, tiles)
THINGS = (parts, parts, balls, screw, text, xray, edges, circuit, scribble)


def coloured(rng, field):
    """A gray field in colour, by a ramp or a tint; a colour picture as it is."""
    if field.ndim == 3:
        return field
    return ramp(rng, field) if rng.random() < 0.5 else tinted(rng, field)


def ground(rng):
    """What a thing lies on: plain, a slope or a texture."""
    kind = rng.integers(4)
    if kind == 0:
        return np.ones((S, S, 3), F32) * palette(rng, 1)
    if kind == 1:
        return tinted(rng, F32(rng.uniform(0.3, 0.8)) + X * F32(rng.normal(0, 0.2)) + Y * F32(rng.normal(0, 0.2)))
    return coloured(rng, GRAY[rng.integers(len(GRAY))](rng))
