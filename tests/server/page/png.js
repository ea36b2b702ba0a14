/* SPDX-License-Identifier: Apache-2.0 */
/* Small pictures for the test of the page: a woven cloth, with or without a hole, as PNG. */
'use strict';
const zlib = require('node:zlib');

const table = new Uint32Array(256).map((_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
});
function crc(bytes) {
    let c = 0xffffffff;
    for (const b of bytes) c = table[(c ^ b) & 255] ^ (c >>> 8);
    return (c ^ 0xffffffff) >>> 0;
}
function chunk(type, data) {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data]), out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    out.writeUInt32BE(crc(body), body.length + 4);
    return out;
}

/* `paint(x, y)` gives [r, g, b] or [r, g, b, a]. */
function png(width, height, channels, paint) {
    const rows = Buffer.alloc(height * (1 + width * channels));
    for (let y = 0, at = 0; y < height; y++) {
        rows[at++] = 0;
        for (let x = 0; x < width; x++)
            for (const v of paint(x, y)) rows[at++] = v;
    }
    const head = Buffer.alloc(13);
    head.writeUInt32BE(width, 0);
    head.writeUInt32BE(height, 4);
    head.set([8, channels === 4 ? 6 : 2, 0, 0, 0], 8);
    return Buffer.concat([
        Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk('IHDR', head), chunk('IDAT', zlib.deflateSync(rows)),
        chunk('IEND', Buffer.alloc(0))
    ]);
}

/* Where the hole of a cloth is, as shares of its sides: middle and radius. */
const hole = {
    x: 0.66,
    y: 0.36,
    radius: 0.09
};

function cloth(seed, holed, size = 256) {
    let state = seed * 2654435761 + 12345 >>> 0;
    const random = () => (state = Math.imul(state, 1664525) + 1013904223 >>> 0) / 2 ** 32;
    const dx = random() * 8, dy = random() * 8, light = 0.97 + 0.06 * random();
    return png(size, size, 3, (x, y) => {
        const weave = Math.sin((x + dx) * 0.8) * Math.sin((y + dy) * 0.8), noise = 14 * (random() - 0.5);
        const away = Math.hypot(x / size - hole.x, y / size - hole.y) / hole.radius;
        const v = holed && away < 1 ? 25 + noise : light * (135 + 45 * weave) + noise;
        return [v * 0.95, v, v * 1.05].map(c => Math.max(0, Math.min(255, Math.round(c))));
    });
}

/* The colours of a map that glows at the hole. */
function heat(size = 128) {
    return png(size, size, 4, (x, y) => {
        const away = Math.hypot(x / size - hole.x, y / size - hole.y) / hole.radius, v = Math.exp(-away * away / 2);
        const stops = [[20, 20, 130], [30, 160, 220], [120, 220, 90], [250, 210, 40], [220, 40, 20]];
        const t = v * 3.999, i = Math.floor(t), f = t - i;
        return [...stops[i].map((c, k) => Math.round(c + f * (stops[i + 1][k] - c))), 255];
    });
}

module.exports = {
    png,
    cloth,
    heat,
    hole
};
