"""What each tool takes: a struct each, whose JSON schema is told to the model."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

__all__ = [
    "Assign", "EditFile", "ListFiles", "ListMachines", "MachineUrl", "ReadFile", "Release", "RunCommand", "WriteFile",
    "schema_of",
]  # fmt: skip

_PATH: Final = "An absolute path in the machine."
_NAMED: Final = "Whose machine it is: a name of your choice, the same in each call that is about one machine."
Path = Annotated[str, Meta(pattern="^/", max_length=4096, description=_PATH)]
Line = Annotated[int, Meta(ge=1, description="The first line to read, from 1 on.")]
Lines = Annotated[int, Meta(ge=1, le=10_000, description="How many lines to read at most.")]
Seconds = Annotated[float, Meta(gt=0)]
Depth = Annotated[int, Meta(ge=1, le=5, description="How many levels of folders to list.")]
Project = Annotated[
    str | None, Meta(description="Whose machine it is. Without it: the project that this server was started for.")
]


class _Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`project` is told to the model only where the server is not pinned to one."""

    project: Project = None


class RunCommand(_Arguments, frozen=True, kw_only=True):
    """As `sh -c` runs it."""

    command: Annotated[str, Meta(min_length=1, description="A command line for sh. It has no terminal.")]
    workdir: Annotated[str, Meta(description="The folder to run it in. Without it: that of the image.")] = ""
    stdin: Annotated[str, Meta(description="What the command reads from its standard input.")] = ""
    timeout_seconds: Annotated[
        Seconds | None, Meta(description="The command is killed after so long. Default: 60.")
    ] = None


class ReadFile(_Arguments, frozen=True, kw_only=True):
    """A part of a text file."""

    path: Path
    first_line: Line = 1
    max_lines: Lines = 2000


class WriteFile(_Arguments, frozen=True, kw_only=True):
    """A whole text file."""

    path: Path
    content: Annotated[str, Meta(description="All of the new content.")]


class EditFile(_Arguments, frozen=True, kw_only=True):
    """A replacement of one text by another."""

    path: Path
    old_text: Annotated[str, Meta(min_length=1, description="The text to replace, exactly as it is in the file.")]
    new_text: Annotated[str, Meta(description="The text to put in its place.")]
    replace_all: Annotated[bool, Meta(description="Replace every occurrence. Without it there must be just one.")] = (
        False
    )


class ListFiles(_Arguments, frozen=True, kw_only=True):
    """A folder."""

    path: Path = "/"
    depth: Depth = 1


class MachineUrl(_Arguments, frozen=True, kw_only=True):
    """A port of the worker."""

    port: Annotated[str | None, Meta(description="The name of a port, where the pool names several.")] = None


class Assign(_Arguments, frozen=True, kw_only=True):
    """A project of the model's choice."""

    project: Annotated[str, Meta(description="A name of your choice: the machine stays this project's.")]
    pool: Annotated[str | None, Meta(description="A machine of exactly this pool.")] = None


class Release(_Arguments, frozen=True, kw_only=True):
    """A project that has a machine."""

    project: Annotated[str, Meta(description="The project whose machine is given back.")]


class ListMachines(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing."""


def schema_of(arguments: type[msgspec.Struct], *, has_project: bool, needs_project: bool = False) -> dict[str, Any]:
    """The JSON schema of these arguments, an object at its root. `needs_project`: there is none that a call is for else."""
    schema: dict[str, Any] = msgspec.json.schema(arguments)["$defs"][arguments.__name__]
    properties = schema["properties"]
    if not has_project:
        properties.pop("project", None)
    required = list(schema.get("required", ()))
    if needs_project and "project" in properties and "project" not in required:
        properties["project"] = {"type": "string", "description": _NAMED}
        required.append("project")
    told = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**told, "required": required} if required else told
