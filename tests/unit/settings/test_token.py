"""The token: where it comes from, what is refused, and that nothing shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import structlog.testing

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.loading import file_with_token, load
from worker_orchestrator.settings.token import read, warn_if_readable

TOKEN = "s3cret-s3cret-s3cret"
UNFIT = ["", "too-short", "s3cret s3cret s3cret", "s3cret-s3cret-s3cr\xe9t", "s" * 5000, "s3cret-s3cret\n-s3cret"]


def test_it_comes_from_the_environment_or_the_file_of_settings(tmp_path: Path) -> None:
    config = tmp_path / "o.toml"
    config.write_text(f'token = "{TOKEN}"\n')
    assert load({}, {"ORCHESTRATOR_TOKEN": TOKEN}).token == TOKEN
    assert load({}, {}, config).token == TOKEN
    assert load({}, {}).token == ""


@pytest.mark.parametrize("unfit", UNFIT)
def test_an_unfit_one_is_refused_and_not_shown(tmp_path: Path, unfit: str) -> None:
    file = tmp_path / "token"
    file.write_text(unfit)
    with pytest.raises(InvalidSetting, match=r"^ORCHESTRATOR_TOKEN is not shown here, but must be 16 to 4096 ") as one:
        load({}, {"ORCHESTRATOR_TOKEN": unfit})
    with pytest.raises(InvalidSetting, match=r"^The content of the token file .* must be 16 to 4096 ") as two:
        read(file)
    for refused in (one, two):
        assert "s3cret" not in refused.value.message
        assert "\n" not in refused.value.message


def test_it_stands_in_no_repr() -> None:
    assert TOKEN not in repr(load({}, {"ORCHESTRATOR_TOKEN": TOKEN}))


def test_two_of_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"^token and token_file \(.*\) are both set") as refused:
        load({"token_file": str(tmp_path / "token")}, {"ORCHESTRATOR_TOKEN": TOKEN})
    assert TOKEN not in refused.value.message


def test_a_file_holds_it_with_any_space_around(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"\n {TOKEN}\r\n")
    file.chmod(0o600)
    with structlog.testing.capture_logs() as lines:
        assert read(file) == TOKEN
    assert lines == []


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_that_others_can_read_is_warned_of(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(mode)
    with structlog.testing.capture_logs() as lines:
        assert read(file) == TOKEN
    assert [(line["log_level"], line["remedy"]) for line in lines] == [("warning", f"chmod 600 {file}")]
    assert TOKEN not in str(lines)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(f"The token file {tmp_path}/none cannot be read: No such file")):
        read(tmp_path / "none")
    with pytest.raises(InvalidSetting, match="cannot be read: Is a directory"):
        read(tmp_path)


@pytest.mark.parametrize(("mode", "is_open"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_file_of_settings_that_holds_it_is_warned_of_as_well(tmp_path: Path, mode: int, *, is_open: bool) -> None:
    config = tmp_path / "o.toml"
    config.write_text(f'token = "{TOKEN}"\n')
    config.chmod(mode)
    assert file_with_token({}, config) == config
    assert file_with_token({"ORCHESTRATOR_CONFIG": str(config)}) == config
    with structlog.testing.capture_logs() as lines:
        warn_if_readable(config)
    warned = [(line["log_level"], line["file"], line["remedy"]) for line in lines]
    assert warned == ([("warning", str(config), f"chmod 600 {config}")] if is_open else [])
    assert TOKEN not in str(lines)


def test_a_file_of_settings_matters_only_where_the_token_comes_from_it(tmp_path: Path) -> None:
    without = tmp_path / "o.toml"
    without.write_text("min-idle = 1\n")
    assert file_with_token({}, without) is None
    without.write_text(f'token = "{TOKEN}"\n')
    assert file_with_token({"ORCHESTRATOR_TOKEN": TOKEN}, without) is None
    assert file_with_token({}) is None
