"""What PromQL asks for: metrics, labels and values. It knows the words that are used here and refuses all others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Asked", "asked"]

_FUNCTIONS: Final = {"rate", "increase", "changes", "absent", "last_over_time", "histogram_quantile"}
_AGGREGATORS: Final = {"sum", "min", "max", "topk"}
_WORDS: Final = {"and", "or", "unless"}
_TOKEN: Final = re.compile(
    r"(?P<space>\s+)|(?P<range>\[[^\]]*\])|(?P<braces>\{(?:[^{}\"]|\"[^\"]*\")*\})|(?P<name>[A-Za-z_:][\w:]*)"
    r"|(?P<number>\d+(?:\.\d+)?)|(?P<sign>[-+*/<>=!]=?|[(),])"
)
_MATCHER: Final = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*(?:,|$)')


@dataclass
class Asked:
    """One selector. `matchers`: label, operator and value. `grouped`: the labels of the `by` and `on` that concern it."""

    metric: str
    matchers: list[tuple[str, str, str]] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)


def asked(expression: str) -> list[Asked]:
    """All selectors. A text that it does not understand is a ValueError."""
    found, tokens = list[tuple[int, Asked]](), list(_tokens(expression))
    ends_of_on = {_closing(tokens, place + 1) for place, (_, text) in enumerate(tokens) if text == "on"}
    for place, (kind, text) in enumerate(tokens):
        before = tokens[place - 1][1] if place else ""
        following = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        if kind == "braces":
            if not found or found[-1][0] != place - 1:
                raise ValueError(f"{text} has no metric before it.")
            found[-1][1].matchers.extend(_matchers(text))
        elif kind == "name" and text in _FUNCTIONS | _AGGREGATORS:
            if following not in {"(", "by"}:
                raise ValueError(f"{text} is a function, not a metric.")
        elif kind == "name" and text not in _WORDS | {"by", "on"} and not _is_label(tokens, place):
            if following == "(" or (before == ")" and place - 1 not in ends_of_on):
                raise ValueError(f"{text} is not a function or an operator that is known here.")
            found.append((place, Asked(text)))
    _group(tokens, found)
    return [each for _, each in found]


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise ValueError(f"{expression[at:]!r} of {expression!r} is not understood.")
        if match.lastgroup not in {"space", "range"}:
            yield str(match.lastgroup), match[0]
        at = match.end()


def _matchers(braces: str) -> list[tuple[str, str, str]]:
    inside = braces[1:-1].strip()
    found = [(match[1], match[2], match[3]) for match in _MATCHER.finditer(inside)]
    if _MATCHER.sub("", inside):
        raise ValueError(f"{braces} is not understood.")
    return found


def _is_label(tokens: list[tuple[str, str]], place: int) -> bool:
    """Is it in the parentheses of a `by` or `on`?"""
    before = place
    while before > 0 and (tokens[before][0] == "name" or tokens[before][1] == ","):
        before -= 1
    return before > 0 and tokens[before][1] == "(" and tokens[before - 1][1] in {"by", "on"}


def _group(tokens: list[tuple[str, str]], found: list[tuple[int, Asked]]) -> None:
    """`by` concerns what the parentheses after it hold, `on` all of the expression."""
    for place, (_, text) in enumerate(tokens):
        if text in {"by", "on"}:
            end = _closing(tokens, place + 1)
            labels = {word for kind, word in tokens[place + 2 : end] if kind == "name"}
            last = _closing(tokens, end + 1) if text == "by" else len(tokens)
            for where, each in found:
                if text == "on" or end < where < last:
                    each.grouped |= labels


def _closing(tokens: list[tuple[str, str]], opening: int) -> int:
    depth = 0
    for place in range(opening, len(tokens)):
        depth += (tokens[place][1] == "(") - (tokens[place][1] == ")")
        if depth == 0:
            return place
    raise ValueError("A parenthesis is not closed.")
