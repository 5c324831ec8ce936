"""One setting as the operator meets it, and how a field of `Settings` or `PoolSettings` says all of that.

Durations are seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from worker_orchestrator.settings import parsers

__all__ = ["ENV_PREFIX", "Inherited", "Setting", "choice", "repeatable", "secret", "setting", "settings_of", "switch"]

ENV_PREFIX: Final = "ORCHESTRATOR_"


class Inherited(Enum):
    """When a pool takes a setting that its table does not give from the settings outside of all tables."""

    ALWAYS = "always"
    """Rights and limits among them: no pool is less confined because its table says nothing."""
    WITH_IMAGE = "with the image"
    """It belongs to an image, so not if the table names an image."""
    NEVER = "never"
    """A size."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as the operator meets it."""

    name: str
    help: str
    parse: Callable[[Any], Any]
    default: Any
    values: str = ""
    """What stands for a value in the help, such as N or a|b; empty for a switch."""
    repeatable: bool = False
    secret: bool = False
    inherited: Inherited | None = None
    """None: it is a setting of the service and not of a pool."""

    @property
    def flag(self) -> str:
        """Empty for a secret, since every user of a computer can read the command lines of its processes."""
        return "" if self.secret else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENV_PREFIX + self.name.upper()


def settings_of(settings: Any) -> list[Setting]:
    """Every setting of this class of settings, in the order of its fields; `settings` has their defaults."""
    return [
        Setting(
            f.name,
            f.metadata["help"],
            f.metadata["parse"],
            getattr(settings, f.name),
            f.metadata.get("values", ""),
            f.metadata.get("repeatable", False),
            f.metadata.get("secret", False),
            f.metadata.get("inherited"),
        )
        for f in dataclasses.fields(settings)
        if f.metadata
    ]


# fields. `inherited` makes one a pool's.


def setting(
    default: Any, parse: Callable[[Any], Any], values: str, help_text: str, inherited: Inherited | None = None
) -> Any:
    metadata = {"parse": parse, "help": help_text, "values": values, "inherited": inherited}
    return field(default=default, metadata=metadata)


def repeatable(
    default: Any, parse: Callable[[Any], Any], values: str, help_text: str, inherited: Inherited | None = None
) -> Any:
    """A setting whose flag may be repeated."""
    text = help_text + " May be repeated."
    metadata = {"parse": parse, "help": text, "values": values, "repeatable": True, "inherited": inherited}
    return field(default_factory=lambda: default, metadata=metadata)


def choice(allowed: tuple[str, ...], help_text: str, inherited: Inherited | None = None) -> Any:
    """One of these words; the first is the default."""
    return setting(allowed[0], parsers.one_of(*allowed), "|".join(allowed), help_text, inherited)


def secret(parse: Callable[[Any], Any], help_text: str) -> Any:
    """A text that has no flag and is never shown; empty by default."""
    return field(default="", repr=False, metadata={"parse": parse, "help": help_text, "secret": True})


def switch(help_text: str, inherited: Inherited | None = None) -> Any:
    """A setting that is off unless its flag is given."""
    return setting(default=False, parse=parsers.yes_no, values="", help_text=help_text, inherited=inherited)
