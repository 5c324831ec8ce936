"""The blocks of the documents, and the commands in them that are special: those that ask, and those that nobody runs.

All others are run as they stand, by `test_commands.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tests.recipes.page import ROOT

__all__ = [
    "DOCUMENTS",
    "FOLLOWED",
    "ILLUSTRATED",
    "NOT_RUN",
    "TYPED",
    "Block",
    "blocks",
    "commands_of",
    "reason_not_to",
]

FOLLOWED: Final = {"README.md", "docs/getting-started.md", "docs/container.md"}
"""Besides the recipes: pages that are followed from beginning to end, by other tests."""
DOCUMENTS: Final = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "clients" / "typescript" / "README.md"]
)
NOT_RUN: Final = {
    r"kubectl |helm install": "asks a cluster, and CI has none: `make deploy-check` renders what they install",
    r"pip install 'worker-orchestrator\[\w+\]'": "fetches a release of PyPI; that there is such an extra is tested",
    r"sudo (debootstrap|tar) |make image": "takes minutes; test_image.py builds by the same Dockerfile on a smaller base",
    r"pipx |uv tool |uvx |pip install --": "installs a wheel and what it needs from PyPI, in an environment of that tool",
    r"cd /etc/|orchestrator init --systemd": "is for a computer that systemd runs; test_systemd.py starts what it writes",
    r"orchestrator serve --engine kubernetes": "needs a cluster; `make test-cluster` runs that engine on one",
}
"""By a pattern of how a command begins, why nobody runs it."""
TYPED: Final[Mapping[str, str]] = {
    "orchestrator init": "my/worker:latest\n4\n" + "\n" * 8,
    "orchestrator exec -it my-project": "exit\n",
    "orchestrator exec -it my-project vi notes.txt": ":q\n",
    "orchestrator mcp install claude-code": "y\n",
    "orchestrator mcp --read-only --project my-project install cursor": "y\n",
    "orchestrator plan --pool web --apply": "y\n",
    "orchestrator reload": "y\n",
}
"""Commands that ask: they get a terminal, and this is what the reader types."""
READ: Final = {"export API_KEY; read -rs API_KEY": "key-0123\n"}
"""Commands of the shell itself that read a line."""
ILLUSTRATED: Final = {
    "orchestrator doctor --image my/worker:latest": "an engine and an image of others, and what is wrong there",
    "orchestrator pools": "pools that projects use",
    "orchestrator key list": "a key that was used",
    "orchestrator reload": "a file that was edited",
    "orchestrator scale --pool web": "a pool that has learned for days",
}
"""Commands that are run, but print something else here: what the page shows needs a pool with a past."""
_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STEP: Final = re.compile(r"^(?=\$ |\^C$)", re.MULTILINE)
_COMMENT: Final = re.compile(r"\s+# .*$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a document."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> Iterator[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        yield Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a console block without its comment, and what it prints."""
    for step in filter(None, _STEP.split(block.text)):
        command, _, shown = step.removeprefix("$ ").partition("\n")
        while command.endswith("\\"):
            more, _, shown = shown.partition("\n")
            command = f"{command[:-1]}{more.strip()}"
        yield _COMMENT.sub("", command), shown.strip()


def reason_not_to(command: str) -> str:
    """Empty: it is run."""
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, command)), "")
