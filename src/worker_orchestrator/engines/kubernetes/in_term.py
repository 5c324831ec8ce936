"""What a leader among replicas puts on its pods, and looks for before it removes one: its term of office.

An engine of a service that is alone has none of this. Who leads is decided elsewhere (`store/replicas`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

__all__ = ["InTerm"]


class InTerm(Protocol):
    """The term in which an engine acts. Every method that leads to a write raises EngineUnavailable once it is over."""

    def stamped(self, pod: Mapping[str, Any]) -> dict[str, Any]:
        """This pod, to be made in this term. Raises EngineUnavailable."""
        ...

    def heard(self, pod: Mapping[str, Any]) -> None:
        """A create or a watch shows this pod."""
        ...

    def gone(self, name: str) -> None:
        """A watch shows that the pod of this name is gone."""
        ...

    async def listed(self, pods: Iterable[Mapping[str, Any]]) -> None:
        """A listing shows these pods. What is of another term came late, and goes. Raises EngineUnavailable."""
        ...

    def version_of(self, pod: Mapping[str, Any]) -> str:
        """The version of this pod, of which alone it may be removed. Raises EngineUnavailable if it is of another term."""
        ...
