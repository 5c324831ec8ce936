"""What is shipped: the man page and completions as the command line is, and the same bytes from the same files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parents[2]


def test_the_man_page_and_the_completions_are_those_of_the_command_line() -> None:
    """In a process of its own: click keeps what the first caller of a command wanted its option for help to be."""
    script = ROOT / "scripts" / "man"
    told = f"import json, runpy; made = runpy.run_path({str(script)!r})['generated']()"
    words = [sys.executable, "-c", f"{told}; print(json.dumps({{str(path): text for path, text in made.items()}}))"]
    made = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    for path, content in json.loads(made).items():
        assert (ROOT / path).read_text(encoding="utf-8") == content, f"{path}: run `make man`"


def test_fish_is_told_descriptions_with_their_commas() -> None:
    script = (ROOT / "share" / "fish" / "vendor_completions.d" / "orchestrator.fish").read_text(encoding="utf-8")
    assert re.findall(r"string split .*,\"", script) == ['string split --max 1 ","']


def built(folder: Path, umask: int) -> dict[str, str]:
    """The digests of a wheel and a source distribution of this tree, copied to `folder`."""
    ignored = shutil.ignore_patterns(".*", "build", "dist", "node_modules", "mutants", "__pycache__")
    before = os.umask(umask)
    try:
        shutil.copytree(ROOT, folder, ignore=ignored, copy_function=shutil.copyfile)
    finally:
        os.umask(before)
    shutil.copyfile(ROOT / ".gitignore", folder / ".gitignore")
    for script in (folder / "scripts").iterdir():
        script.chmod(0o777 & ~umask)
    words = [sys.executable, "-m", "hatchling", "build", "-d", "dist"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run(words, cwd=folder, env=environment, umask=umask, capture_output=True, check=True, timeout=120)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (folder / "dist").iterdir()}


def test_two_builds_are_the_same_byte_by_byte(tmp_path: Path) -> None:
    """In different folders, by users with different rights for new files."""
    (tmp_path / "deeper").mkdir()
    first, second = built(tmp_path / "one", 0o022), built(tmp_path / "deeper" / "two", 0o077)
    assert sorted(name.rpartition(".")[2] for name in first) == ["gz", "whl"]
    assert first == second
    (wheel,) = (tmp_path / "one" / "dist").glob("*.whl")
    assert any(name.endswith("/data/share/man/man1/orchestrator.1") for name in zipfile.ZipFile(wheel).namelist())


def test_the_lock_has_a_version_with_hashes_of_each_dependency_within_its_range() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8").replace("\\\n", "")
    locked = {match[1]: (match[2], match[3]) for match in re.finditer(r"^([\w.-]+)==(\S+)(.*)$", lock, re.MULTILINE)}
    assert all("--hash=sha256:" in rest for _, rest in locked.values())
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(locked[requirement.name][0]), f"{requirement}: run `make lock`"
