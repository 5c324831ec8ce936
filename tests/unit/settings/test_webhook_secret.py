"""The secret of the webhook: where it comes from, what is refused, and that nothing shows it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import structlog.testing

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.loading import file_with_token, load
from worker_orchestrator.settings.showing import as_json
from worker_orchestrator.settings.webhook_secret import key_of, read, read_or_make

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
UNFIT = [
    "",
    SECRET.removeprefix("whsec_"),
    "whsec_" + base64.b64encode(bytes(23)).decode(),
    "whsec_" + base64.b64encode(bytes(65)).decode(),
    SECRET[:-2] + "!!",
    SECRET + "\xe9",
]


def test_it_comes_from_the_environment_or_the_file_of_settings(tmp_path: Path) -> None:
    config = tmp_path / "o.toml"
    config.write_text(f'webhook-secret = "{SECRET}"\n')
    assert load({}, {"ORCHESTRATOR_WEBHOOK_SECRET": SECRET}).webhook_secret == SECRET
    assert load({}, {}, config).webhook_secret == SECRET
    assert file_with_token({}, config) == config, "others must not be able to read it"
    assert file_with_token({"ORCHESTRATOR_WEBHOOK_SECRET": SECRET}, config) is None
    assert key_of(SECRET) == KEY


@pytest.mark.parametrize("unfit", UNFIT)
def test_an_unfit_one_is_refused_and_not_shown(tmp_path: Path, unfit: str) -> None:
    file = tmp_path / "secret"
    file.write_text(unfit, encoding="latin-1")
    said = "is not shown here, but must be whsec_ and base64 of 24 to 64 random bytes"
    with pytest.raises(InvalidSetting, match=f"^ORCHESTRATOR_WEBHOOK_SECRET {said}") as one:
        load({}, {"ORCHESTRATOR_WEBHOOK_SECRET": unfit})
    with pytest.raises(InvalidSetting, match=f"^The content of .* {said}") as two:
        read(file)
    for refused in (one, two):
        assert "AAEC" not in refused.value.message


def test_nothing_shows_it() -> None:
    settings = load({}, {"ORCHESTRATOR_WEBHOOK_SECRET": SECRET})
    assert SECRET not in repr(settings)
    assert as_json("webhook_secret", settings.webhook_secret, secret=True) == "(hidden)"


def test_two_of_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"^webhook_secret and webhook_secret_file \(.*\) are both set"):
        load({"webhook_secret_file": str(tmp_path / "s")}, {"ORCHESTRATOR_WEBHOOK_SECRET": SECRET})


def test_where_none_is_set_one_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "state" / "webhook-secret"
    made = read_or_make(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(key_of(made)) == 32
    assert read_or_make(file) == made
    assert read_or_make(tmp_path / "other") != made


def test_a_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o640)
    with structlog.testing.capture_logs() as lines:
        assert read(file) == SECRET
    assert [(line["log_level"], line["remedy"]) for line in lines] == [("warning", f"chmod 600 {file}")]
    assert SECRET not in str(lines)


def test_a_file_that_cannot_be_read_or_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"^The webhook secret file .*none cannot be read: No such file"):
        read(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSetting, match=r"cannot be written: .* --webhook-secret-file"):
        read_or_make(tmp_path / "file" / "secret")


@pytest.mark.parametrize(
    "url", ["https://a.example/hooks?x=1", "http://localhost:8000", "http://[::1]:80/", "https://user:pass@a.example/"]
)
def test_a_url_of_a_web_server_is_taken_as_it_is(url: str) -> None:
    assert load({"webhook": f" {url} "}, {}).webhook == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example",
        "ftp://a.example",
        "https://",
        "http://a b",
        "http://a:99999",
        "http://a:0",
        "http://[::1",
        "http://a/#b",
    ],
)
def test_another_one_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match="but must be a URL that begins with https:// or http://"):
        load({"webhook": url}, {})
