"""Where a client finds the service and the token, and what it says about those that cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worker_orchestrator.client import Client
from worker_orchestrator.client.service_address import find_token, find_url
from worker_orchestrator.errors import InvalidInput, InvalidSetting


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORCHESTRATOR_URL", "ORCHESTRATOR_TOKEN", "ORCHESTRATOR_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_an_argument_wins_over_the_environment_over_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    """In that order; an empty variable is none."""
    assert find_url(None) == "http://localhost:9092"
    monkeypatch.setenv("ORCHESTRATOR_URL", "")
    assert find_url(None) == "http://localhost:9092"
    monkeypatch.setenv("ORCHESTRATOR_URL", "https://there/fleet/")
    assert find_url(None) == "https://there/fleet"
    assert find_url(" http://[::1]:80 ") == "http://[::1]:80"


@pytest.mark.parametrize(
    "url",
    [
        "localhost:9092",
        "ftp://x",
        "http://",
        "http://x:99999",
        "http://x:0",
        "http://x/?a=b",
        "http://x y",
        "http://x\n/",
    ],
)
def test_what_is_no_address_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what one looks like, and where the wrong one came from."""
    with pytest.raises(InvalidSetting, match=r"^url .*Use http://HOST:PORT"):
        find_url(url)
    monkeypatch.setenv("ORCHESTRATOR_URL", url)
    with pytest.raises(InvalidSetting, match=r"^ORCHESTRATOR_URL .*Use http://HOST:PORT"):
        find_url(None)


def test_an_address_with_a_password_is_refused_and_not_shown() -> None:
    """It would stand in every error."""
    with pytest.raises(InvalidSetting) as told:
        find_url("http://me:hidden@there")
    assert "hidden" not in told.value.message


def test_a_token_is_found_in_an_argument_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In that order, and there may be none."""
    assert find_token(None) is None
    (tmp_path / "token").write_text("from-a-file\n")
    monkeypatch.setenv("ORCHESTRATOR_TOKEN_FILE", str(tmp_path / "token"))
    assert find_token(None) == "from-a-file"
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", "from-the-environment")
    assert find_token(None) == "from-the-environment"
    assert find_token("from-an-argument") == "from-an-argument"


@pytest.mark.parametrize("token", ["", "two words", "line\r\nX-Other: 1", "ü"])
def test_what_is_no_token_is_refused_and_not_shown(token: str) -> None:
    """Nothing that could end the header early, and no hint at what it was."""
    with pytest.raises(InvalidSetting, match=r"^token is not a valid token.*not shown") as told:
        find_token(token)
    assert not token or token not in told.value.message


def test_a_token_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names the file."""
    monkeypatch.setenv("ORCHESTRATOR_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(InvalidSetting, match="none, named by ORCHESTRATOR_TOKEN_FILE, cannot be read: No such file"):
        find_token(None)


@pytest.mark.parametrize("wrong", [{"timeout_s": 0}, {"retries": -1}])
def test_patience_that_cannot_be(wrong: dict[str, int]) -> None:
    """Is refused before anything is sent."""
    with pytest.raises(InvalidInput):
        Client(**wrong)  # type: ignore[arg-type] # one of each


def test_only_what_is_used_is_loaded() -> None:
    """The command line has a third of a second for everything: no event loop, and no HTTP before the first call."""
    code = "import sys, worker_orchestrator.client as c; c.Client(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"asyncio", "aiohttp", "urllib3", "dataclasses", "structlog", "ssl"} & set(loaded) == set()
