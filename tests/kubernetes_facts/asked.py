"""The questions: each is a function that asks a running cluster and returns the words of one cell of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.kubernetes_facts.cluster import Cluster

__all__ = ["QUESTIONS", "Question", "question"]


@dataclass(frozen=True)
class Question:
    """One row of the page."""

    name: str
    text: str
    needs: str
    """`""`, or "nodes" where pods must run."""
    ask: Callable[[Cluster], str]


QUESTIONS: Final = dict[str, Question]()
"""By name, in the order of the page."""


def question(text: str, needs: str = "") -> Callable[[Callable[[Cluster], str]], Callable[[Cluster], str]]:
    """Put a function among the questions, under its own name."""

    def put(ask: Callable[[Cluster], str]) -> Callable[[Cluster], str]:
        name = ask.__name__.replace("_", "-")
        QUESTIONS[name] = Question(name, text, needs, ask)
        return ask

    return put
