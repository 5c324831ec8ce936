"""Each command of the documents that are no recipes, as it stands, on one service with the pools that they name."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from typing import Final

import pytest
from tests.integration.docker_command import EXAMPLE
from tests.integration.waiting import eventually
from tests.recipes.commands import (
    DOCUMENTS,
    FOLLOWED,
    ILLUSTRATED,
    NOT_RUN,
    READ,
    TYPED,
    Block,
    blocks,
    commands_of,
    reason_not_to,
)
from tests.recipes.page import ROOT, Reader, a_reader

SETTINGS: Final = f"""
image = "{EXAMPLE}"
on_release = "recycle"
max_machines = 40
[pools.default]
min_idle = 1
late = {{ dir = "/run/project" }}
[pools.web]
min_idle = 0
ports = {{ http = 9092, hmr = 24678 }}
[pools.node20]
min_idle = 0
[pools.python]
min_idle = 0
"""
STANDARD: Final = "orchestrator serve --config settings.toml"
PAGES: Final = [page for page in DOCUMENTS if page not in FOLLOWED]
PROGRAMS: Final = [block for block in blocks("docs/configuration.md") if block.language == "python"]
CONSOLES: Final = [block for page in PAGES for block in blocks(page) if block.language == "console"]
_ASSIGNS: Final = re.compile(r"orchestrator assign|machine -|curl .*/my-project$", re.MULTILINE)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+Z?|(?<=in )\d+[mh]|orc_ci_[0-9a-f]+…?")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Reader]:
    """A reader whose service has the pools of the documents, and who has the files that they name."""
    folder = tmp_path_factory.mktemp("documents")
    with a_reader(folder, HOME=str(folder), ORCHESTRATOR_IMAGE=EXAMPLE, API_KEY="key-0123") as reader:
        for name in (
            "settings.toml",
            "app/index.html",
            "app.conf",
            "notes.txt",
            "photo.png",
            "key",
            "key.pem",
            "site/a",
        ):
            file = folder / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(SETTINGS if name == "settings.toml" else f"{name}\n")
        (folder / ".config" / "fish" / "completions").mkdir(parents=True)
        (folder / "deploy").symlink_to(ROOT / "deploy")
        files = reader.run("tar -C site -cf - . | base64 -w 0")
        sent = {"env": {"REGION": "eu"}, "secrets": {"API_KEY": "key-0123"}, "files": files}
        (folder / "values.json").write_text(json.dumps(sent))
        yield reader


def stop(reader: Reader) -> None:
    while reader.serving:
        reader.interrupt()


def serve(reader: Reader, command: str) -> None:
    """Instead of what serves now."""
    stop(reader)
    reader.run(command)
    (reader.folder / "serves").write_text(command)


def standard(reader: Reader) -> None:
    if not reader.serving or (reader.folder / "serves").read_text() != STANDARD:
        serve(reader, STANDARD)


def alike(text: str) -> str:
    """What differs from run to run, and from computer to computer."""
    return " ".join(_TIME.sub("…", text).split())


def run(reader: Reader, command: str, shown: str) -> None:
    """One command, which must print what the page shows."""
    known, command = command, reader.adapted(command).replace("//my-host:", "//localhost:")
    if command.startswith("orchestrator serve"):
        serve(reader, command)
        return
    if known in TYPED:  # what is typed is shown at once, and not behind the question
        shown = f"…{re.sub(r'(?<=]: ).*', '', shown)}" if shown else ""
        (reader.folder / "typed").write_text(reader.adapted(TYPED[known]))
        command = f"script -qec {shlex.quote(command)} /dev/null <typed"
    if known == "orchestrator doctor --image my/worker:latest":
        command = f"! {command.replace(EXAMPLE, 'nobody/has-it:latest')}"
    (reader.folder / "read").write_text(READ.get(known, ""))
    said = reader.run(command, given="read")
    if shown and known not in ILLUSTRATED:
        expected = ".*".join(
            map(re.escape, re.split("…", alike(reader.alike(reader.adapted(shown.replace("9094", "9093"))))))
        )
        assert re.fullmatch(expected, alike(reader.alike(said))), f"`{known}` printed\n{said}\nThe page shows\n{shown}"


@pytest.mark.parametrize("block", CONSOLES, ids=str)
def test_each_command_of_the_documents_runs_as_it_stands(reader: Reader, block: Block) -> None:
    steps = [(command, shown) for command, shown in commands_of(block) if not reason_not_to(command)]
    if any(command.startswith("orchestrator serve") for command, _ in steps):
        stop(reader)
    elif steps:
        standard(reader)
        if "my-project" in block.text:
            reader.run("orchestrator release my-project || true")
            if not _ASSIGNS.search(block.text):
                reader.run("orchestrator assign my-project")
        if "--state idle" in block.text:
            eventually(lambda: reader.run("orchestrator list --state idle -o name"), "one is idle")
    for command, shown in steps:
        run(reader, command, shown)


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_each_program_that_sends_values_runs_as_it_stands(reader: Reader, block: Block) -> None:
    """Those of other pages need no pool that takes values, and are run by tests of their own."""
    standard(reader)
    (reader.folder / "program.py").write_text(block.text)
    reader.run("orchestrator release my-project || true")
    assert reader.run("python -W error program.py").startswith("True ")


def test_nobody_has_to_be_told_why_a_command_is_not_run_that_is_run() -> None:
    """Each exception has its command."""
    told = [block for page in DOCUMENTS for block in blocks(page) if block.language == "console"]
    every = [command for block in told for command, _ in commands_of(block)]
    for pattern in NOT_RUN:
        assert any(re.match(pattern, command) for command in every), pattern
    for known in (*TYPED, *READ, *ILLUSTRATED):
        assert known in every


def test_extras_that_the_documents_install_are_extras_that_there_are() -> None:
    named = {
        name
        for page in DOCUMENTS
        for name in re.findall(r"worker-orchestrator\[(\w+)\]", (ROOT / page).read_text("utf-8"))
    }
    assert (
        named <= tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"].keys()
    )
