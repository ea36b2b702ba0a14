# SPDX-License-Identifier: Apache-2.0
"""Draws train.py's log as an SVG: what is explained of the teacher's maps, and the loss.

    python3 curve.py --log FOLDER/log.jsonl --out builtin-backbone.svg
"""

import argparse
import json

W, H, LEFT, RIGHT, TOP, BOTTOM = 720, 300, 56, 150, 16, 44
LINES = (("validation", "layer2", "#1f77b4", ""), ("validation", "layer3", "#d62728", ""),
         ("photos", "layer2", "#1f77b4", "5 4"), ("photos", "layer3", "#d62728", "5 4"))
NAMES = {"validation": "procedural", "photos": "photos"}


def path(points, last, colour, dash):
    inner, high = W - LEFT - RIGHT, H - TOP - BOTTOM
    text = " ".join(f"{LEFT + x / last * inner:.1f},{TOP + (1 - min(max(y, 0), 1)) * high:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="1.6"{dashed}/>'


def draw(entries):
    last = max(entry["step"] for entry in entries)
    inner, high = W - LEFT - RIGHT, H - TOP - BOTTOM
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {W} {H}" font-family="sans-serif" font-size="12">',
           "<!-- SPDX-License-Identifier: Apache-2.0 -->", f'<rect width="{W}" height="{H}" fill="#fff"/>']
    for i in range(6):
        y = TOP + (1 - i / 5) * high
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{W - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{i / 5:.1f}</text>')
        x = LEFT + i / 5 * inner
        out.append(f'<text x="{x:.1f}" y="{H - BOTTOM + 18}" text-anchor="middle">{round(last * i / 5)}</text>')
    out.append(f'<text x="{LEFT + inner / 2}" y="{H - 8}" text-anchor="middle">training steps</text>')
    losses = [(entry["step"], entry["loss"] / 2) for entry in entries if "loss" in entry]
    curves = [(losses, "#888", "", "loss / 2 (training)")]
    for kind, name, colour, dash in LINES:
        points = [(entry["step"], entry[kind][name]) for entry in entries if entry.get(kind)]
        curves.append((points, colour, dash, f"{name}, {NAMES[kind]}"))
    for i, (points, colour, dash, label) in enumerate(curves):
        if not points:
            continue
        y = TOP + 14 + i * 20
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        out.append(path(points, last, colour, dash))
        out.append(f'<line x1="{W - RIGHT + 10}" y1="{y - 4}" x2="{W - RIGHT + 32}" y2="{y - 4}" stroke="{colour}" '
                   f'stroke-width="2"{dashed}/><text x="{W - RIGHT + 38}" y="{y}">{label}</text>')
    return "\n".join(out) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--log", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    with open(options.log) as file:
        entries = [json.loads(line) for line in file]
    with open(options.out, "w") as file:
        file.write(draw(entries))


if __name__ == "__main__":
    main()
