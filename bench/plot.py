"""Draws bars as SVG: one block for each title, on a logarithmic scale."""

import html
import math

WIDTH, NAMES, ROW = 760, 230, 20
OURS, OTHERS = "#3b6fd4", "#b9bfca"


def draw(bars):
    """`bars` are (title, name, value), those of a title one after the other."""
    blocks = {}
    for title, name, value in bars:
        blocks.setdefault(title, []).append((name, value))
    shapes = []
    y = 10
    for title, rows in blocks.items():
        low = min(0.1 if "= 1" in title else 10.0, *(value for _, value in rows)) * 0.8
        high = max(value for _, value in rows)
        scale = (WIDTH - NAMES - 70) / math.log(max(high / low, 2))
        y += 24
        shapes.append(f'<text x="10" y="{y}" font-weight="bold">{html.escape(title)} (logarithmic)</text>')
        y += 8
        for name, value in sorted(rows, key=lambda row: row[1]):
            width = max(1, scale * math.log(value / low))
            fill = OURS if name == "clerk_proxy" else OTHERS
            shapes.append(
                f'<text x="{NAMES - 8}" y="{y + 14}" text-anchor="end">{html.escape(name)}</text>'
                f'<rect x="{NAMES}" y="{y + 3}" width="{width:.0f}" height="{ROW - 6}" fill="{fill}"/>'
                f'<text x="{NAMES + width + 6:.0f}" y="{y + 14}">{value:.3g}</text>'
            )
            y += ROW
        if "= 1" in title:
            x = NAMES + scale * math.log(1 / low)
            top = y - ROW * len(rows)
            shapes.append(f'<line x1="{x:.0f}" y1="{top}" x2="{x:.0f}" y2="{y}" stroke="#d43b3b"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 20}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(shapes)}</svg>\n'
    )
