#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes images/ and images/expected.txt for test_io_decode: python3 make_images.py (needs Pillow and numpy).

A line of expected.txt is NAME FORMAT WIDTH HEIGHT SHA256 (of the packed rows, 16-bit values little-endian), with the
pixels that Pillow reads, or for what Pillow does not keep (16 bits a colour, alpha) the values the file was made from;
NAME error STATUS for a file that is to be refused."""
import hashlib
import io
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "images")
W, H = 37, 29
lines = []
y, x = np.mgrid[0:H, 0:W]
noise = ((x * 7919 + y * 104729) % 31).astype(int)
GRAY = ((x * 5 + y * 3 + noise) % 256).astype(np.uint8)
RGB = np.stack([GRAY, (x * 6 % 256).astype(np.uint8), (255 - y * 8).astype(np.uint8)], -1)
ALPHA = ((x * 9 + y * 11) % 256).astype(np.uint8)
GRAY16 = ((x * 1771 + y * 911 + noise * 13) % 65536).astype(np.uint16)
RGB16 = np.stack([GRAY16, (x * 1500 % 65536).astype(np.uint16), (65535 - y * 2000).astype(np.uint16)], -1)
ALPHA16 = ((x * 2001 + y * 1003) % 65536).astype(np.uint16)


def white(v, a, top=255):
    v, a = v.astype(np.int64), a.astype(np.int64)
    if v.ndim == 3:
        a = a[..., None]
    return ((v * a + top * (top - a) + top // 2) // top).astype(np.uint8 if top == 255 else np.uint16)


def to8(v):
    return ((v.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8)


def expect(name, pixels):
    pixels = np.ascontiguousarray(pixels)
    fmt = "RGB8" if pixels.ndim == 3 else "GRAY16" if pixels.dtype == np.uint16 else "GRAY8"
    digest = hashlib.sha256(pixels.astype("<u2" if fmt == "GRAY16" else np.uint8).tobytes()).hexdigest()
    lines.append(f"{name} {fmt} {pixels.shape[1]} {pixels.shape[0]} {digest}")


def put(name, data, pixels=None, error=None):
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(data)
    if error:
        lines.append(f"{name} error {error}")
        return
    if pixels is None:  # what Pillow says
        im = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        pixels = np.asarray(im.convert("L" if im.mode in ("1", "L") else "RGB"))
    expect(name, pixels)


def saved(array, fmt, mode=None, **options):
    im = array if isinstance(array, Image.Image) else Image.fromarray(array, mode)
    out = io.BytesIO()
    im.save(out, fmt, **options)
    return out.getvalue()


# ---- PNG ----
def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(array, depth, colour, extra=b"", interlaced=False):
    """array: [H, W] or [H, W, C] sample values; depth below 8 for one channel only"""
    a = array if array.ndim == 3 else array[..., None]

    def rows(part):
        out = b""
        for row in part:
            if depth < 8:
                bits = "".join(format(int(v), f"0{depth}b") for v in row[:, 0])
                bits += "0" * (-len(bits) % 8)
                out += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
            else:
                out += b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes()
        return out

    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        data = b"".join(rows(a[y0::dy, x0::dx]) for x0, y0, dx, dy in passes if a[y0::dy, x0::dx].size)
    else:
        data = rows(a)
    header = struct.pack(">IIBBBBB", a.shape[1], a.shape[0], depth, colour, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(data)) +
            chunk(b"IEND", b""))


def exif_block(orientation, order="<"):
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HIHHHIHHI", 42, 8, 1, 274, 3, 1, orientation, 0, 0)


def make_png():
    put("gray8.png", saved(GRAY, "PNG"), GRAY)
    put("rgb8.png", saved(RGB, "PNG"), RGB)
    put("rgba8.png", saved(np.dstack([RGB, ALPHA]), "PNG"), white(RGB, ALPHA))
    put("ga8.png", saved(np.dstack([GRAY, ALPHA]), "PNG", "LA"), white(GRAY, ALPHA))
    palette = Image.fromarray(RGB).quantize(40)
    put("palette.png", saved(palette, "PNG"))
    colours, indices = np.array(palette.getpalette()).reshape(-1, 3), np.asarray(palette)
    alphas = (np.arange(256) * 37 % 256).astype(np.uint8)
    put("palette_alpha.png", saved(palette, "PNG", transparency=bytes(alphas[:40])),
        white(colours[indices].astype(np.uint8), alphas[indices]))
    put("bit1.png", saved(Image.fromarray(GRAY).convert("1"), "PNG"))
    for depth in (2, 4):
        put(f"gray{depth}.png", png(GRAY >> (8 - depth), depth, 0), (GRAY >> (8 - depth)) * (255 // (2**depth - 1)))
    put("palette2.png", png(GRAY >> 6, 2, 3, chunk(b"PLTE", bytes(range(10, 22)))),
        np.arange(10, 22, dtype=np.uint8).reshape(4, 3)[GRAY >> 6])
    put("gray16.png", png(GRAY16, 16, 0), GRAY16)
    put("rgb16.png", png(RGB16, 16, 2), to8(RGB16))
    put("rgba16.png", png(np.dstack([RGB16, ALPHA16]), 16, 6), to8(white(RGB16, ALPHA16, 65535)))
    put("ga16.png", png(np.dstack([GRAY16, ALPHA16]), 16, 4), white(GRAY16, ALPHA16, 65535))
    k8, k16 = int(GRAY[4, 5]), int(GRAY16[4, 5])
    put("gray8_key.png", png(GRAY, 8, 0, chunk(b"tRNS", struct.pack(">H", k8))), np.where(GRAY == k8, 255, GRAY))
    put("gray16_key.png", png(GRAY16, 16, 0, chunk(b"tRNS", struct.pack(">H", k16))),
        np.where(GRAY16 == k16, 65535, GRAY16).astype(np.uint16))
    key = (RGB == RGB[4, 5]).all(-1)[..., None]
    put("rgb8_key.png", png(RGB, 8, 2, chunk(b"tRNS", struct.pack(">3H", *map(int, RGB[4, 5])))), np.where(key, 255, RGB))
    key = (RGB16 == RGB16[4, 5]).all(-1)[..., None]
    put("rgb16_key.png", png(RGB16, 16, 2, chunk(b"tRNS", struct.pack(">3H", *map(int, RGB16[4, 5])))),
        np.where(key, 255, to8(RGB16)))
    put("interlaced_gray8.png", png(GRAY, 8, 0, interlaced=True), GRAY)
    put("interlaced_rgb8.png", png(RGB, 8, 2, interlaced=True), RGB)
    put("interlaced_rgba8.png", png(np.dstack([RGB, ALPHA]), 8, 6, interlaced=True), white(RGB, ALPHA))
    put("interlaced_rgb16.png", png(RGB16, 16, 2, interlaced=True), to8(RGB16))
    put("interlaced_bit1.png", png(GRAY >> 7, 1, 0, interlaced=True), (GRAY >> 7) * 255)
    put("exif6.png", png(RGB, 8, 2, chunk(b"eXIf", exif_block(6, ">"))), np.rot90(RGB, -1))
    put("really_png.jpg", saved(RGB, "PNG"), RGB)
    put("one_pixel.png", png(GRAY[:1, :1], 8, 0), GRAY[:1, :1])
    bad = bytearray(saved(RGB, "PNG"))
    bad[bad.index(b"IDAT") + 40] ^= 1
    put("bad_checksum.png", bytes(bad), error="FORMAT")


# ---- JPEG ----
def make_jpeg():
    smooth = np.stack([x * 6, y * 8, 128 + (x - y) * 3], -1).clip(0, 255).astype(np.uint8)
    put("gray.jpg", saved(GRAY, "JPEG", quality=90))
    put("rgb.jpg", saved(RGB, "JPEG", quality=90))
    put("rgb444.jpg", saved(RGB, "JPEG", quality=95, subsampling=0))
    put("rgb422.jpg", saved(smooth, "JPEG", quality=80, subsampling=1))
    put("progressive.jpg", saved(RGB, "JPEG", quality=85, progressive=True))
    put("progressive_gray.jpg", saved(GRAY, "JPEG", quality=85, progressive=True))
    cmyk = np.dstack([RGB, ALPHA // 2])
    data = saved(cmyk, "JPEG", "CMYK", quality=92)
    put("cmyk.jpg", data)
    at = data.index(b"Adobe") + 11
    put("ycck.jpg", data[:at] + b"\x02" + data[at + 1:])
    for orientation in range(1, 9):
        block = b"Exif\0\0" + exif_block(orientation, "<" if orientation % 2 else ">")
        put(f"exif{orientation}.jpg", saved(smooth[:16, :24], "JPEG", quality=85, exif=block))
    block = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    put("exif_damaged.jpg", saved(smooth[:16, :24], "JPEG", quality=85, exif=block),
        np.asarray(Image.open(io.BytesIO(saved(smooth[:16, :24], "JPEG", quality=85)))))
    data = saved(GRAY, "JPEG", quality=90)
    put("no_end_marker.jpg", data[:-2], error="FORMAT")
    at = data.index(b"\xff\xc0")
    put("bits12.jpg", data[:at + 4] + b"\x0c" + data[at + 5:], error="UNSUPPORTED")


# ---- TIFF ----
def tiff(blocks, tags, order="<"):
    """blocks: strips or tiles as bytes; tags: {tag: (type, values)} without offsets and counts"""
    tiled = 322 in tags
    tags = dict(tags)
    tags[324 if tiled else 273] = (4, [0] * len(blocks))
    tags[325 if tiled else 279] = (4, [len(b) for b in blocks])
    at = 8 + 2 + 12 * len(tags) + 4
    code = {1: "B", 3: "H", 4: "I"}
    size = {t: len(v) * struct.calcsize(code[k]) for t, (k, v) in tags.items()}
    start = at + sum((n + 1) // 2 * 2 for n in size.values() if n > 4)
    offsets = [start + sum(len(b) for b in blocks[:i]) for i in range(len(blocks))]
    tags[324 if tiled else 273] = (4, offsets)
    head, body = b"", b""
    for tag in sorted(tags):
        kind, values = tags[tag]
        raw = struct.pack(order + str(len(values)) + code[kind], *values)
        if len(raw) > 4:
            place = struct.pack(order + "I", at + len(body))
            body += raw + b"\0" * (len(raw) % 2)
        else:
            place = raw.ljust(4, b"\0")
        head += struct.pack(order + "HHI", tag, kind, len(values)) + place
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HIH", 42, 8, len(tags)) + head + struct.pack(order + "I", 0) + body + b"".join(blocks)


def base_tags(bits, photometric, samples=1, rows=8, **more):
    tags = {256: (3, [W]), 257: (3, [H]), 258: (3, [bits] * samples), 259: (3, [1]), 262: (3, [photometric]),
            277: (3, [samples]), 278: (3, [rows])}
    tags.update({int(k[1:]): v for k, v in more.items()})
    return tags


def strips(array, rows=8):
    return [array[i:i + rows].tobytes() for i in range(0, H, rows)]


def packed(values, bits):
    per = 8 // bits
    padded = np.zeros((H, -(-W // per) * per), np.uint8)
    padded[:, :W] = values
    out = np.zeros((H, padded.shape[1] // per), np.uint8)
    for i in range(per):
        out |= padded[:, i::per] << (8 - bits * (i + 1))
    return out


def tiles(array, size=16):
    padded = np.zeros((-(-H // size) * size, -(-W // size) * size) + array.shape[2:], array.dtype)
    padded[:H, :W] = array
    return [padded[i:i + size, j:j + size].tobytes() for i in range(0, padded.shape[0], size)
            for j in range(0, padded.shape[1], size)]


def make_tiff():
    put("gray8.tif", saved(GRAY, "TIFF"), GRAY)
    put("gray16.tif", tiff(strips(GRAY16), base_tags(16, 1)), GRAY16)
    put("gray16_big_endian.tif", tiff(strips(GRAY16.astype(">u2")), base_tags(16, 1), ">"), GRAY16)
    put("rgb.tif", saved(RGB, "TIFF"), RGB)
    put("rgb_lzw.tif", saved(RGB, "TIFF", compression="tiff_lzw"), RGB)
    put("rgb_deflate.tif", saved(RGB, "TIFF", compression="tiff_adobe_deflate"), RGB)
    put("gray_packbits.tif", saved(GRAY, "TIFF", compression="packbits"), GRAY)
    put("rgb_jpeg.tif", saved(RGB, "TIFF", compression="jpeg", quality=95))
    put("rgb_tiled.tif", tiff(tiles(RGB), base_tags(8, 2, 3, t322=(3, [16]), t323=(3, [16]))), RGB)
    put("gray16_tiled.tif", tiff(tiles(GRAY16), base_tags(16, 1, t322=(3, [16]), t323=(3, [16]))), GRAY16)
    planes = [s for c in range(3) for s in strips(RGB[..., c])]
    put("rgb_planar.tif", tiff(planes, base_tags(8, 2, 3, t284=(3, [2]))), RGB)
    put("rgb16.tif", tiff(strips(RGB16), base_tags(16, 2, 3)), to8(RGB16))
    put("rgba.tif", tiff(strips(np.dstack([RGB, ALPHA])), base_tags(8, 2, 4, t338=(3, [2]))), white(RGB, ALPHA))
    pre = (RGB.astype(int) * ALPHA[..., None] // 255).astype(np.uint8)
    put("rgba_premultiplied.tif", tiff(strips(np.dstack([pre, ALPHA])), base_tags(8, 2, 4, t338=(3, [1]))),
        np.minimum(pre.astype(int) + 255 - ALPHA[..., None], 255).astype(np.uint8))
    put("gray_alpha.tif", tiff(strips(np.dstack([GRAY, ALPHA])), base_tags(8, 1, 2, t338=(3, [2]))), white(GRAY, ALPHA))
    put("gray16_alpha.tif", tiff(strips(np.dstack([GRAY16, ALPHA16])), base_tags(16, 1, 2, t338=(3, [2]))),
        white(GRAY16, ALPHA16, 65535))
    put("palette.tif", saved(Image.fromarray(RGB).quantize(40), "TIFF"))
    colours = (np.arange(48).reshape(3, 16) * 1300 + 700).astype(int)
    put("palette4.tif", tiff(strips(packed(GRAY >> 4, 4)), base_tags(4, 3, t320=(3, list(colours.ravel())))),
        (colours >> 8).T.astype(np.uint8)[GRAY >> 4])
    put("bilevel.tif", saved(Image.fromarray(GRAY).convert("1"), "TIFF"))
    put("bilevel_g4.tif", saved(Image.fromarray(GRAY).convert("1"), "TIFF", compression="group4"))
    put("bilevel_white_is_zero.tif", tiff(strips(packed(GRAY >> 7, 1)), base_tags(1, 0)), (1 - (GRAY >> 7)) * 255)
    put("gray4_white_is_zero.tif", tiff(strips(packed(GRAY >> 4, 4)), base_tags(4, 0)), 255 - (GRAY >> 4) * 17)
    put("gray2.tif", tiff(strips(packed(GRAY >> 6, 2)), base_tags(2, 1)), (GRAY >> 6) * 85)
    put("gray8_white_is_zero.tif", tiff(strips(GRAY), base_tags(8, 0)), 255 - GRAY)
    put("cmyk.tif", saved(np.dstack([RGB, ALPHA // 2]), "TIFF", "CMYK"))
    put("orientation6.tif", tiff(strips(RGB), base_tags(8, 2, 3, t274=(3, [6]))), np.rot90(RGB, -1))
    full = np.dstack([RGB[..., 0], np.full_like(GRAY, 128), np.full_like(GRAY, 128)])
    put("ycbcr.tif", tiff(strips(full), base_tags(8, 6, 3, t530=(3, [1, 1]))), np.dstack([RGB[..., 0]] * 3))
    two = saved(GRAY, "TIFF", save_all=True, append_images=[Image.fromarray(255 - GRAY)])
    put("two_pages.tif", two, GRAY)
    put("float.tif", saved(GRAY.astype(np.float32), "TIFF"), error="UNSUPPORTED")


# ---- BMP ----
def bmp(rows, bits, palette=b"", compression=0, masks=b"", height=H, header=40, colours=0):
    body = b"".join(r + b"\0" * (-len(r) % 4) for r in rows)
    if header == 12:
        info = struct.pack("<IHHHH", 12, W, height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, W, height, 1, bits, compression, len(body), 2835, 2835, colours, 0)
        info += masks
        info += b"\0" * (header - len(info))
    offset = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + info + palette + body


def make_bmp():
    up = slice(None, None, -1)
    put("bit1.bmp", saved(Image.fromarray(GRAY).convert("1"), "BMP"))
    put("gray8.bmp", saved(GRAY, "BMP"), GRAY)
    put("palette8.bmp", saved(Image.fromarray(RGB).quantize(40), "BMP"))
    put("rgb24.bmp", saved(RGB, "BMP"), RGB)
    colours = np.arange(10, 58, dtype=np.uint8).reshape(16, 3)
    table = b"".join(bytes([c[2], c[1], c[0], 0]) for c in colours)
    put("palette4.bmp", bmp([r.tobytes() for r in packed(GRAY >> 4, 4)[up]], 4, table), colours[GRAY >> 4])
    table = b"".join(bytes([c[2], c[1], c[0]]) for c in colours)
    put("os2_palette4.bmp", bmp([r.tobytes() for r in packed(GRAY >> 4, 4)[up]], 4, table, header=12), colours[GRAY >> 4])
    put("top_down24.bmp", bmp([r.tobytes() for r in RGB[..., ::-1]], 24, height=-H), RGB)
    small = (RGB >> 3).astype(np.uint16)
    v555 = small[..., 0] << 10 | small[..., 1] << 5 | small[..., 2]
    put("rgb555.bmp", bmp([r.astype("<u2").tobytes() for r in v555[up]], 16), (small * 255 // 31).astype(np.uint8))
    g6 = (RGB[..., 1] >> 2).astype(np.uint16)
    v565 = small[..., 0] << 11 | g6 << 5 | small[..., 2]
    put("rgb565.bmp", bmp([r.astype("<u2").tobytes() for r in v565[up]], 16, compression=3,
                          masks=struct.pack("<3I", 0xF800, 0x7E0, 0x1F)),
        np.dstack([small[..., 0] * 255 // 31, g6.astype(int) * 255 // 63, small[..., 2] * 255 // 31]).astype(np.uint8))
    bgrx = np.dstack([RGB[..., ::-1], ALPHA])
    put("rgb32.bmp", bmp([r.tobytes() for r in bgrx[up]], 32), RGB)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    put("rgba32.bmp", bmp([r.tobytes() for r in bgrx[up]], 32, compression=3, masks=masks, header=108), white(RGB, ALPHA))
    clear = np.dstack([RGB[..., ::-1], ALPHA * 0])
    put("rgba32_alpha_unused.bmp", bmp([r.tobytes() for r in clear[up]], 32, compression=3, masks=masks, header=108), RGB)
    put("rle8.bmp", bmp([b"\x25\x10\0\0" for _ in range(H)], 8, bytes(1024), compression=1), error="UNSUPPORTED")
    put("bad_index.bmp", bmp([r.tobytes() for r in GRAY[up]], 8, bytes(40), colours=10), error="FORMAT")


# ---- PNM ----
def make_pnm():
    bits = GRAY >> 7
    put("plain.pbm", b"P1\n# a comment\n%d %d\n" % (W, H) + b"\n".join(b"".join(b"%d" % v for v in r) for r in bits) + b"\n",
        (1 - bits) * 255)
    put("plain.pgm", b"P2 %d # width\n%d 255\n" % (W, H) + b"\n".join(b" ".join(b"%d" % v for v in r) for r in GRAY), GRAY)
    put("plain.ppm", b"P3\n%d %d\n255\n" % (W, H) + b" ".join(b"%d" % v for v in RGB.ravel()), RGB)
    put("raw.pbm", b"P4\n%d %d\n" % (W, H) + packed(bits, 1).tobytes(), (1 - bits) * 255)
    put("raw.pgm", b"P5\n#\n%d %d\n255\n" % (W, H) + GRAY.tobytes(), GRAY)
    put("raw.ppm", b"P6\n%d %d\n255\n" % (W, H) + RGB.tobytes(), RGB)
    put("raw16.pgm", b"P5\n%d %d\n65535\n" % (W, H) + GRAY16.astype(">u2").tobytes(), GRAY16)
    put("raw16.ppm", b"P6\n%d %d\n65535\n" % (W, H) + RGB16.astype(">u2").tobytes(), to8(RGB16))
    tenth = (GRAY.astype(int) * 10 // 255).astype(np.uint8)
    put("max10.pgm", b"P5\n%d %d\n10\n" % (W, H) + tenth.tobytes(), ((tenth.astype(int) * 255 + 5) // 10).astype(np.uint8))
    v = GRAY.astype(int) * 4
    put("max1023.pgm", b"P5\n%d %d\n1023\n" % (W, H) + v.astype(">u2").tobytes(),
        ((v * 65535 + 511) // 1023).astype(np.uint16))
    put("above_max.pgm", b"P5\n2 1\n10\n\x0b\x01", error="FORMAT")
    put("cut_off.pgm", b"P5\n2 2\n255\n\x0b\x01", error="FORMAT")


# ---- what is no picture, or one that this build may not read ----
def make_others():
    put("empty.png", b"", error="FORMAT")
    put("text.png", b"This is a text file, whatever its name says.\n", error="FORMAT")
    put("noise.png", hashlib.sha256(b"noise").digest() * 4, error="FORMAT")
    put("no_vips.webp", b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0",
        error="UNSUPPORTED_OR_OK")
    put("document.png", b"%PDF-1.4\n", error="UNSUPPORTED")


def make_masks():
    shape = (x - 18)**2 + (y - 14)**2 < 90
    for top in (1, 253, 255):
        put(f"mask_{top}.png", saved((shape * top).astype(np.uint8), "PNG"), (shape * top).astype(np.uint8))
    put("mask_bit1.png", saved(Image.fromarray((shape * 255).astype(np.uint8)).convert("1"), "PNG"))
    red = np.dstack([shape * 255, shape * 0, shape * 0]).astype(np.uint8)
    put("mask_red.png", saved(red, "PNG"), red)
    soft = np.clip(260 - ((x - 18)**2 + (y - 14)**2) * 130 / 90, 0, 255).astype(np.uint8)
    put("mask_soft.jpg", saved(soft, "JPEG", quality=100))
    put("mask_none.png", saved((shape * 0).astype(np.uint8), "PNG"), (shape * 0).astype(np.uint8))


os.makedirs(HERE, exist_ok=True)
make_png()
make_jpeg()
make_tiff()
make_bmp()
make_pnm()
make_others()
make_masks()
with open(os.path.join(HERE, "expected.txt"), "w", encoding="ascii") as f:
    f.write("\n".join(sorted(lines)) + "\n")
