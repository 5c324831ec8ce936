"""The TypeScript client, compiled and run by Node as a program would use it, against the real service."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.integration.running import Running, environment

CLIENT: Final = Path(__file__).parents[2] / "clients" / "typescript"


def test_the_client_keeps_its_promises(shared: Running, tmp_path: Path) -> None:
    """Its own tests, and the program of its page, in a copy without what was built here."""
    folder = tmp_path / "client"
    shutil.copytree(CLIENT, folder, ignore=shutil.ignore_patterns("node_modules", "build", "dist"))
    (program,) = re.findall(r"^```ts\n(.*?)^```$", (CLIENT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    own = program.replace('"worker-orchestrator-client"', '"../src/index.js"')
    (folder / "test" / "readme.ts").write_text(own, encoding="utf-8")
    there = environment({"ORCHESTRATOR_URL": f"http://127.0.0.1:{shared.ports.api}"})
    for words in (["npm", "ci", "--no-audit", "--no-fund"], ["npm", "test"], ["node", "build/test/readme.js"]):
        done = subprocess.run(
            words,
            cwd=folder,
            env=there,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert not [machine for machine in shared.machines() if machine["isUsed"]]
