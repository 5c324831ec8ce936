"""`orchestrator mcp install`: the entry in a client's file, and what else is in the file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from worker_orchestrator.cli import main
from worker_orchestrator.cli.exit_codes import CommandFailed
from worker_orchestrator.cli.mcp_project import project_of

TOKEN: Final = "0123456789abcdef"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ORCHESTRATOR_URL", "ORCHESTRATOR_TOKEN", "ORCHESTRATOR_TOKEN_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return here


def install(*words: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, ["mcp", *words], input=answer)


def entry(file: Path, servers: str = "mcpServers") -> Any:
    return json.loads(file.read_text())[servers]["worker"]


@pytest.mark.parametrize(
    ("client", "file", "servers"),
    [
        ("claude-code", ".mcp.json", "mcpServers"),
        ("cursor", ".cursor/mcp.json", "mcpServers"),
        ("vscode", ".vscode/mcp.json", "servers"),
    ],
)
def test_a_client_of_a_folder_gets_a_file_in_it(folder: Path, client: str, file: str, servers: str) -> None:
    assert install("--read-only", "--ttl", "2h", "install", client, "--yes").exit_code == 0
    written = entry(folder / file, servers)
    assert written["args"][-4:] == ["mcp", "--read-only", "--ttl", "7200s"]
    assert "env" not in written
    assert "already" in install("--read-only", "--ttl", "2h", "install", client).output


@pytest.mark.skipif(sys.platform != "linux", reason="its file is elsewhere")
def test_a_client_of_a_user_gets_the_project_of_the_folder(folder: Path, tmp_path: Path) -> None:
    assert install("install", "claude-desktop", "--yes").exit_code == 0
    written = entry(tmp_path / "home" / ".config" / "Claude" / "claude_desktop_config.json")
    assert written["args"][-2:] == ["--project", project_of(folder)]


def test_everything_else_stays_and_the_file_as_it_was_is_kept(folder: Path) -> None:
    file = folder / ".mcp.json"
    before = '{\n    "other": ["ä", 1.50],\n    "mcpServers": {"else": {"command": "x", "env": {"KEY": "secret"}}}\n}\n'
    file.write_text(before)
    file.chmod(0o640)
    done = install("install", "claude-code", answer="y\n")
    assert done.exit_code == 0
    assert "secret" not in done.output
    after = json.loads(file.read_text())
    del after["mcpServers"]["worker"]
    assert after == json.loads(before)
    assert '\n    "other"' in file.read_text()
    assert "ä" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640
    assert (folder / ".mcp.json.bak").read_text() == before


def test_nothing_is_written_without_a_yes(folder: Path) -> None:
    assert install("install", "cursor", answer="n\n").exit_code == 1
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "text", ["// a comment\n{}", "[]", '{"mcpServers": []}', '{"a": 1, "a": 2}', "{", "\udcff"], ids=range(6)
)
def test_a_file_that_is_not_understood_stays_as_it_is(folder: Path, text: str) -> None:
    file = folder / ".mcp.json"
    file.write_bytes(text.encode(errors="surrogateescape"))
    done = install("install", "claude-code", "--yes")
    assert done.exit_code == 1
    assert "was not changed" in done.output
    assert file.read_bytes() == text.encode(errors="surrogateescape")


def test_a_token_is_written_only_when_the_user_says_so_and_never_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", TOKEN)
    done = install("install", "cursor", "--yes")
    assert "The token is not written" in done.output
    assert TOKEN not in (folder / ".cursor" / "mcp.json").read_text()
    done = install("install", "cursor", "--yes", "--write-token")
    assert TOKEN not in done.output
    assert entry(folder / ".cursor" / "mcp.json")["env"] == {"ORCHESTRATOR_TOKEN": TOKEN}
    monkeypatch.delenv("ORCHESTRATOR_TOKEN")
    assert install("install", "cursor", "--yes", "--write-token").exit_code == 2


def test_the_service_and_the_file_of_its_token_are_kept(folder: Path) -> None:
    (folder / "token").write_text(TOKEN)
    done = install("--url", "http://there:1", "--token-file", "token", "install", "cursor", "--yes")
    assert done.exit_code == 0, done.output
    args = entry(folder / ".cursor" / "mcp.json")["args"]
    assert args[-4:] == ["--url", "http://there:1", "--token-file", str(folder / "token")]


def test_no_two_folders_have_one_project_and_that_of_everybody_has_none(folder: Path) -> None:
    (folder / "x").mkdir()
    assert project_of(folder) != project_of(folder / "x")
    assert project_of(folder / "x").startswith("mcp-x-")
    with pytest.raises(CommandFailed, match="--project NAME"):
        project_of(Path("/"))
