"""The official conformance suite of MCP for servers, at /v1/mcp: `make mcp-conformance`.

usage: python -m tests.mcp_conformance [OPTIONS OF THE SUITE]

Two services with machines in memory are asked, in the newest protocol and the one before: as it is, and with the tools that
the suite wants in place of ours (`diagnostic`), so that it judges the door by itself. Files beside this one list what cannot
pass, with the reason. The suite fails for anything else that fails, and for what is listed and passes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Final

from tests.integration.calling import call
from tests.integration.running import a_service
from tests.mcp_conformance.keyed import adding

NODE: Final = 22
VERSION: Final = "0.2.0-alpha.12"
REVISIONS: Final = ("2026-07-28", "2025-11-25")
SUBJECTS: Final = {"ours": "worker_orchestrator", "diagnostic": "tests.mcp_conformance.diagnostic_service"}
HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
BUILD: Final = ROOT / "build" / "mcp-conformance"


def suite() -> str:
    """The program, from npm, the first time. Whatever it installs runs no script."""
    has_node = shutil.which("npm") is not None and shutil.which("node") is not None
    if not has_node or _node_version() < NODE:
        sys.exit(
            f"This needs npm, and Node from version {NODE} on: `npm install --prefix FOLDER node@{NODE}` brings one."
        )
    installed = BUILD / "node_modules" / "@modelcontextprotocol" / "conformance" / "package.json"
    if not installed.exists() or json.loads(installed.read_text())["version"] != VERSION:
        BUILD.mkdir(parents=True, exist_ok=True)
        named = f"@modelcontextprotocol/conformance@{VERSION}"
        subprocess.run(["npm", "install", "--no-save", "--ignore-scripts", "--prefix", BUILD, named], check=True)
    return str(BUILD / "node_modules" / ".bin" / "conformance")


def _node_version() -> int:
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0])


@contextmanager
def a_door(module: str) -> Iterator[str]:
    """Where the suite asks: it knows no keys, so what stands in between adds one."""
    with (
        tempfile.TemporaryDirectory() as folder,
        a_service(Path(folder), "--engine", "memory", "--mcp", start=False) as service,
    ):
        service.variables["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(ROOT / "src")))
        service.start(command=(sys.executable, "-m", module))
        key = call(service.ports.api, "POST", "/v1/keys", {"name": "suite"}).json["value"]
        with adding({"authorization": f"Bearer {key}"}, service.ports.api) as port:
            yield f"http://127.0.0.1:{port}/v1/mcp"


def main() -> int:
    program, failed = suite(), False
    shutil.rmtree(BUILD / "results", ignore_errors=True)
    for (subject, module), revision in product(SUBJECTS.items(), REVISIONS):
        name = f"{subject}-{revision}"
        print(f"\n{subject}, {revision}", flush=True)
        with a_door(module) as url:
            words = [program, "server", "--url", url, "--suite", "all", "--spec-version", revision]
            words += ["-o", str(BUILD / "results" / name), "--expected-failures", str(HERE / f"{name}.yaml")]
            failed |= subprocess.run([*words, *sys.argv[1:]], check=False).returncode != 0
    print("Not as listed." if failed else "As listed: nothing fails that is not in the lists, and all of them does.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
