# SPDX-License-Identifier: Apache-2.0
"""A small writer of line charts as SVG: panels beside each other, lines with error bars, one legend.

Nothing but text comes out, so that a picture can be compared with the one before it by diff. Scales are functions from a
value to 0..1; ticks are (value, text).

    chart = Chart("Rate against sessions", "sessions", "Mpps")
    panel = chart.panel("both ways", log_scale(1, 1e6), linear_scale(0, 14))
    panel.x_ticks([(1, "1"), (1000, "1 k")])
    panel.line("vmnat", [(1, 8.8, 0.1), (1000, 8.3, 0.2)], Style("#0072b2"))
    Path("rate.svg").write_text(chart.text())
"""
import math
from dataclasses import dataclass, field
from html import escape

PANEL_WIDTH, PANEL_HEIGHT = 430, 300
LEFT, RIGHT, TOP, GAP = 64, 36, 92, 60
BELOW = 54  # the panel: tick texts and the axis's name
LINE_HEIGHT = 15


def linear_scale(low, high):
    return lambda value: (value - low) / (high - low)


def log_scale(low, high):
    low, high = math.log10(low), math.log10(high)
    return lambda value: (math.log10(value) - low) / (high - low)


@dataclass
class Style:
    color: str
    dash: str = ""
    width: float = 2


@dataclass
class Panel:
    title: str
    x_scale: object
    y_scale: object
    lines: list = field(default_factory=list)
    x_marks: list = field(default_factory=list)
    y_marks: list = field(default_factory=list)

    def x_ticks(self, ticks):
        self.x_marks = ticks

    def y_ticks(self, ticks):
        self.y_marks = ticks

    def line(self, name, points, style):
        """Points are (x, y) or (x, y, error), the error in y's unit to either side."""
        self.lines.append((name, [(*point, 0)[:3] for point in points], style))


def _text(x, y, text, size=12, anchor="middle", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def _stroke(x1, y1, x2, y2, color, width=1.0, dash=""):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="{width}"'
            + (f' stroke-dasharray="{dash}"' if dash else "") + "/>")


class Chart:
    def __init__(self, title, x_name, y_name, notes=()):
        self.title, self.x_name, self.y_name, self.notes = title, x_name, y_name, list(notes)
        self.panels = []

    def panel(self, title, x_scale, y_scale):
        self.panels.append(Panel(title, x_scale, y_scale))
        return self.panels[-1]

    def text(self):
        width = LEFT + len(self.panels) * (PANEL_WIDTH + GAP) - GAP + RIGHT
        height = TOP + PANEL_HEIGHT + BELOW + LINE_HEIGHT * len(self.notes) + 8
        parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
                 'font-family="DejaVu Sans, Helvetica, sans-serif" fill="#222">',
                 f'<rect width="{width}" height="{height}" fill="#fff"/>',
                 _text(LEFT, 26, self.title, 16, "start", ' font-weight="bold"'),
                 *self._legend()]
        for index, panel in enumerate(self.panels):
            parts += self._panel(panel, LEFT + index * (PANEL_WIDTH + GAP))
        middle = TOP + PANEL_HEIGHT / 2
        parts.append(_text(18, middle, self.y_name, 12, "middle", f' transform="rotate(-90 18 {middle:.1f})"'))
        parts += [_text(LEFT, TOP + PANEL_HEIGHT + BELOW + LINE_HEIGHT * (number + 0.5), note, 10.5, "start", ' fill="#666"')
                  for number, note in enumerate(self.notes)]
        return "\n".join([*parts, "</svg>", ""])

    def _legend(self):
        styles = {name: style for panel in self.panels for name, _, style in panel.lines}
        parts, x = [], LEFT
        for name, style in styles.items():
            parts += [_stroke(x, 48, x + 26, 48, style.color, style.width, style.dash), _text(x + 32, 52, name, 12, "start")]
            x += 50 + 8 * len(name)
        return parts

    def _panel(self, panel, left):
        x_of = lambda value: left + panel.x_scale(value) * PANEL_WIDTH
        y_of = lambda value: TOP + (1 - panel.y_scale(value)) * PANEL_HEIGHT
        bottom, right = TOP + PANEL_HEIGHT, left + PANEL_WIDTH
        parts = [_text((left + right) / 2, TOP - 12, panel.title, 13),
                 _text((left + right) / 2, bottom + 40, self.x_name)]
        for value, text in panel.x_marks:
            parts += [_stroke(x_of(value), TOP, x_of(value), bottom, "#e4e4e4"), _text(x_of(value), bottom + 18, text, 11)]
        for value, text in panel.y_marks:
            parts += [_stroke(left, y_of(value), right, y_of(value), "#e4e4e4"), _text(left - 7, y_of(value) + 4, text, 11, "end")]
        parts.append(f'<rect x="{left}" y="{TOP}" width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}" fill="none" stroke="#888"/>')
        for _, points, style in panel.lines:
            parts += self._line([(x_of(x), y_of(y), abs(y_of(y + error) - y_of(y)) if error else 0) for x, y, error in points], style)
        return parts

    @staticmethod
    def _line(points, style):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        dash = f' stroke-dasharray="{style.dash}"' if style.dash else ""
        parts = [f'<polyline points="{path}" fill="none" stroke="{style.color}" stroke-width="{style.width}"{dash}/>']
        for x, y, error in points:
            if error:
                parts.append(_stroke(x, y - error, x, y + error, style.color, 1.2))
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{style.color}"/>')
        return parts
