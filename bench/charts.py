"""Bar charts as SVG, made without a library: they suit light and dark pages, and screen readers can read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from bench.table import number

__all__ = ["Bar", "bars"]

WIDTH: Final = 720
_LEFT, _RIGHT, _TOP, _ROW, _BAR = 190, 110, 44, 26, 16
_STYLE: Final = """
svg { font: 13px system-ui, sans-serif }
text { fill: #1f2328 } .quiet { fill: #59636e } .ours { fill: #0969da } .theirs { fill: #8c959f } .limit { fill: #bf8700 }
line { stroke: #d1d9e0 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .quiet { fill: #9198a1 } .ours { fill: #4493f8 } .theirs { fill: #656c76 } .limit { fill: #d29922 }
  line { stroke: #3d444d }
}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row. `kind` is ours, theirs or limit: what the computer itself can do."""

    label: str
    value: float
    kind: str


def bars(title: str, unit: str, groups: Sequence[tuple[str, Sequence[Bar]]], *, logarithmic: bool = False) -> str:
    """A chart of horizontal bars in groups. With `logarithmic` each gridline is ten times the one before."""
    rows = sum(len(group) + bool(name) for name, group in groups)
    height = _TOP + rows * _ROW + len(groups) * 8 + 12
    values = [bar.value for _, group in groups for bar in group]
    scale = _Scale(min(values), max(values), logarithmic=logarithmic)
    kind = f"{unit}, logarithmic" if logarithmic else unit
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"',
        f' role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        f'<text x="8" y="20" font-weight="600">{escape(title)}</text>',
        f'<text x="{WIDTH - 8}" y="20" text-anchor="end" class="quiet">{escape(kind)}</text>',
        *(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 10}" y2="{height - 8}"/>'
            for x in (_LEFT + scale.at(mark) for mark in scale.marks())
        ),
    ]
    y = _TOP
    for name, group in groups:
        if name:
            parts.append(f'<text x="8" y="{y + 13}" class="quiet">{escape(name)}</text>')
            y += _ROW
        for bar in group:
            length = max(1.5, scale.at(bar.value))
            parts += [
                f'<text x="{_LEFT - 10}" y="{y + 13}" text-anchor="end">{escape(bar.label)}</text>',
                f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2" class="{bar.kind}"/>',
                f'<text x="{_LEFT + length + 8:.1f}" y="{y + 13}" class="quiet">{number(bar.value)}</text>',
            ]
            y += _ROW
        y += 8
    return "\n".join([*parts, "</svg>", ""])


class _Scale:
    """From a value to a length in pixels."""

    def __init__(self, least: float, most: float, *, logarithmic: bool) -> None:
        self._logarithmic = logarithmic
        self._low = math.floor(math.log10(least)) if logarithmic else 0.0
        self._high = math.log10(most) if logarithmic else most

    def at(self, value: float) -> float:
        place = math.log10(value) if self._logarithmic else value
        return (place - self._low) / (self._high - self._low) * (WIDTH - _LEFT - _RIGHT)

    def marks(self) -> list[float]:
        if self._logarithmic:
            return [10.0**power for power in range(int(self._low), math.floor(self._high) + 1)]
        step = 10 ** math.floor(math.log10(self._high))
        step = step / 2 if self._high / step < 3 else step
        return [number * step for number in range(int(self._high / step) + 1)]
