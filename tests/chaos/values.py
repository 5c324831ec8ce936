"""What a client sends along with an assign: values that nobody else ever sends, and with them what the hook does.

Each value has a mark in it, by which it is known wherever it turns up. The hook notes in a file of the container, not in
memory, that it ran; what it notes is no value.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.integration.late_service import DIRECTORY, a_tar

__all__ = ["FAILS_WITH", "HOOKS", "LATE", "PLANTED", "RUNS_FILE", "WEIGHTS", "Values", "marks_in", "settings"]

LATE: Final = "late"
"""The pool whose workers take values."""
TIMEOUT_S: Final = 20
"""For a set-up: a hook that ends at all does so sooner, also while the service or the daemon is frozen for seconds."""
RUNS_FILE: Final = "/srv/files/hook-runs"
PLANTED: Final = "planted-c"
"""With this each value begins."""
MARK: Final = re.compile(rb"planted-(c\d+-\d+)\.(\d+)-")
_KEEPS: Final = (
    f"cp -r {DIRECTORY} /dev/shm/kept; (exec 3<{DIRECTORY}/env; export MARK; exec setsid sleep 900) & sleep 0.1"
)
HOOKS: Final[Mapping[str, str]] = {
    "ends well": "true",
    "takes a while": "sleep 1",
    "keeps what it gets": _KEEPS,
    "shows what it gets": f"echo $MARK; cat {DIRECTORY}/secrets/*",
    "fails": "exit 3",
    "fails later": "sleep 0.4; exit 3",
    "fails and keeps": f"{_KEEPS}; exit 3",
}
WEIGHTS: Final = (4, 2, 1, 2, 2, 1, 1)
"""How often each of them is sent: what a hook leaves running is waited for, for seconds."""
FAILS_WITH: Final = 3
_HOOK: Final = f'. {DIRECTORY}/env; echo "$RUN" >>{RUNS_FILE}; eval "$HOOK"'
SETTINGS: Final = """
[pools.{pool}]
min_idle = {min_idle}
max_idle = {max_idle}
parked = {parked}
parked_check = {parked_check_s}
shrink_after = 2
on_setup_failure = "{on_failure}"
late = {{ dir = "{directory}", hook = ["/bin/sh", "-c", {hook}], timeout = {timeout_s} }}
"""


def settings(sizes: Mapping[str, int], on_failure: str) -> str:
    """The table of this pool in the service's settings. `sizes`: `min_idle`, `max_idle`, `parked` and `parked_check_s`."""
    return SETTINGS.format(
        pool=LATE,
        **sizes,
        on_failure=on_failure,
        directory=DIRECTORY,
        hook=json.dumps(_HOOK),
        timeout_s=TIMEOUT_S,
    )


@dataclass(slots=True, eq=False)
class Values:
    """Those that a project sends for the `number`-th time. `most_runs`: so often their hook may have run by now."""

    project: str
    number: int
    hook: str
    most_runs: int = 0

    def __repr__(self) -> str:
        return f"{self.run} ({self.hook})"

    @property
    def run(self) -> str:
        """What the hook notes when it runs."""
        return f"run-{self.project}.{self.number}"

    @property
    def ends_well(self) -> bool:
        return not self.hook.startswith("fails")

    def _value(self, of: str) -> str:
        return f"{PLANTED.removesuffix('c')}{self.project}.{self.number}-{of}"

    @property
    def env(self) -> dict[str, str]:
        return {"RUN": self.run, "HOOK": HOOKS[self.hook], "MARK": self._value("it's $HOME")}

    @property
    def secrets(self) -> dict[str, str]:
        """One has another name each time."""
        return {"TOKEN": self._value("token"), f"key-{self.number}.pem": self._value("key\nof two lines\n")}

    @property
    def files(self) -> dict[str, bytes]:
        return {f"conf/{self.number}": self._value("file\n").encode() * 300} if self.number % 3 else {}

    @property
    def body(self) -> dict[str, Any]:
        """As they are sent."""
        packed = {"files": base64.b64encode(a_tar(self.files)).decode()} if self.files else {}
        return {"env": self.env, "secrets": self.secrets, **packed}

    def are(self, files: Mapping[str, bytes]) -> bool:
        """Whether the folder in which these files are has all of these values, and nothing else."""
        secrets = {f"secrets/{name}": value.encode() for name, value in self.secrets.items()}
        sent = {f"files/{name}": content for name, content in self.files.items()}
        others = {name: content for name, content in files.items() if name not in {"env", "env.json"}}
        if others != {**secrets, **sent, "ready": b""} or not {"env", "env.json"} <= files.keys():
            return False
        lines = [f"{name}={value}" for name, value in self.env.items()]
        return shlex.split(files["env"].decode()) == lines and json.loads(files["env.json"]) == self.env


def marks_in(content: bytes) -> set[tuple[str, int]]:
    """Whose values are in it: the project and the number."""
    return {(project.decode(), int(number)) for project, number in MARK.findall(content)}
