#!/usr/bin/env python3
"""Draws what nre_trainer writes to metrics.jsonl, of one or several runs.

    plot_training.py OUTPUT.svg RUN...

RUN is an --output_path of nre_trainer or a metrics.jsonl. Panels, over
iterations: the loss; the learning rate; the NRE of validations, truncated as
the estimator sees it, against what uninformed maps cost, ln|Omega|; and the
share of points found within one cell. Dashed: appearance changed.
"""

import html
import json
import pathlib
import sys

COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b"]
WIDTH, HEIGHT, MARGIN = 480, 260, 64
NONE, DASHED, DOTTED = "", "6 3", "1 4"


def read_metrics(path):
    """The lines of metrics.jsonl; the last may be incomplete."""
    path = pathlib.Path(path)
    if path.is_dir():
        path /= "metrics.jsonl"
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        sys.exit(f"error: {path} cannot be read: {error.strerror}")
    metrics = []
    for number, line in enumerate(lines, 1):
        try:
            metrics.append(json.loads(line))
            metrics[-1]["iteration"] + 0
        except (ValueError, TypeError, KeyError):
            if number < len(lines):
                sys.exit(f"error: line {number} of {path} is none of "
                         "nre_trainer's")
            metrics = metrics[:number - 1]
    return metrics


def curve(metrics, *keys):
    """(iteration, value) of the lines that have it."""
    points = []
    for line in metrics:
        value = line
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            points.append((line["iteration"], value))
    return points


def panels(metrics):
    """Titles, each with its curves: points and how they are dashed."""
    plain, changed = "validation", "changed_validation"
    nre, hits = "truncated_nre", "hits"
    return {
        "loss": [(curve(metrics, "loss"), NONE)],
        "learning rate": [(curve(metrics, "learning_rate"), NONE)],
        "validation NRE (dotted: ln|Ω|)":
            [(curve(metrics, plain, nre), NONE),
             (curve(metrics, changed, nre), DASHED),
             (curve(metrics, plain, "log_categories"), DOTTED)],
        "found within a cell": [(curve(metrics, plain, hits), NONE),
                                (curve(metrics, changed, hits), DASHED)],
    }


def draw_panel(title, curves, left, top):
    """SVG of curves (points, dashes, colour) in one frame."""
    points = [point for line in curves for point in line[0]] or [(0, 0)]
    max_x = max(max(x for x, _ in points), 1)
    low, high = min(y for _, y in points), max(y for _, y in points)
    space = 0.04 * (high - low) or 0.5  # Lines are not on the frame.
    low, high = low - space, high + space
    right, bottom = WIDTH - MARGIN - 24, HEIGHT - MARGIN

    def place(x, y):
        return (f"{MARGIN + x / max_x * right:.1f},"
                f"{28 + (high - y) / (high - low) * bottom:.1f}")

    svg = [f'<g transform="translate({left} {top})">',
           f'<text x="{MARGIN}" y="18">{html.escape(title)}</text>',
           f'<rect x="{MARGIN}" y="28" width="{right}" height="{bottom}" '
           'fill="none" stroke="#888"/>']
    for i in range(5):
        y, value = 28 + bottom * i / 4, high - (high - low) * i / 4
        svg.append(f'<text x="{MARGIN - 4}" y="{y + 4:.1f}" '
                   f'text-anchor="end">{value:.3g}</text>')
    for i in range(3):
        svg.append(f'<text x="{MARGIN + right * i / 2}" y="{bottom + 44}" '
                   f'text-anchor="middle">{max_x * i / 2:.0f}</text>')
    for line, dashes, colour in curves:
        svg.append(f'<polyline fill="none" stroke="{colour}" '
                   f'stroke-dasharray="{dashes or "none"}" points="'
                   + " ".join(place(x, y) for x, y in line) + '"/>')
    return svg + ["</g>"]


def draw(runs):
    """SVG of runs, {name: lines of metrics}."""
    height = 2 * HEIGHT + 18 * len(runs) + 8
    svg = ['<svg xmlns="http://www.w3.org/2000/svg" '
           f'width="{2 * WIDTH}" height="{height}" font-family="sans-serif" '
           'font-size="12">', '<rect width="100%" height="100%" fill="white"/>']
    curves = {}
    for i, (name, metrics) in enumerate(runs.items()):
        colour = COLOURS[i % len(COLOURS)]
        svg.append(f'<text x="{MARGIN}" y="{2 * HEIGHT + 18 * i + 14}" '
                   f'fill="{colour}">{html.escape(name)}</text>')
        for title, lines in panels(metrics).items():
            curves.setdefault(title, []).extend(
                (points, dashes, colour) for points, dashes in lines)
    for i, (title, lines) in enumerate(curves.items()):
        svg += draw_panel(title, lines, i % 2 * WIDTH, i // 2 * HEIGHT)
    return "\n".join(svg + ["</svg>"]) + "\n"


def main(arguments):
    if len(arguments) < 2 or not arguments[0].endswith(".svg"):
        sys.exit(__doc__)
    runs = {path: read_metrics(path) for path in arguments[1:]}
    pathlib.Path(arguments[0]).write_text(draw(runs))


if __name__ == "__main__":
    main(sys.argv[1:])
