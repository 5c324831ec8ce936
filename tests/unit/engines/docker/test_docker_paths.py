"""What Docker's words about a path mean: no caller ever hears of a path of Docker's host."""

from __future__ import annotations

import pytest

from worker_orchestrator.engines.docker.paths import refusal
from worker_orchestrator.errors import EngineRejected, InvalidInput, PathNotFound

MACHINE = "worker-1700000000000-abcdefghi"
HOST = "/var/lib/docker/overlay2/b70e43386e4ef8104760bfd68ecc91e874e920d25d56dc097f951a2bf9b68c06/merged"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (f"lstat {HOST}/srv/file/x: not a directory", PathNotFound),
        (f"evalSymlinksInScope: too many links in {HOST}/srv/file/x", InvalidInput),
        (f"lstat {HOST}/srv/file/x: file name too long", InvalidInput),
        (f'cannot overwrite directory "{HOST}/srv/file/x/taken" with non-directory "{HOST}/srv/file/x"', InvalidInput),
        (f"open {HOST}/srv/file/x/taken: not a directory", InvalidInput),
        (f"lstat {HOST}/srv/file/x: permission denied", EngineRejected),
        (f"failed to mount {HOST}: input/output error", EngineRejected),
    ],
)
@pytest.mark.parametrize("path", ["/srv/file/x", "/", "/var"])
def test_no_path_of_the_host_is_told(words: str, kind: type[Exception], path: str) -> None:
    told = refusal(MACHINE, path, f"Docker says: {words}")
    assert type(told) is kind
    assert "/var/lib" not in told.message
    assert "docker/" not in told.message


def test_what_is_wrong_within_an_archive_is_told_in_full() -> None:
    """Docker unpacks from within the container."""
    words = 'Docker says: Error processing tar file(exit status 1): invalid symlink "/srv/s" -> "../../../etc"'
    assert refusal(MACHINE, "/srv", words).message.endswith(words)


def test_a_full_disk_is_no_fault_of_the_sender() -> None:
    words = "Docker says: Error processing tar file(exit status 1): write /srv/big: no space left on device"
    told = refusal(MACHINE, "/srv", words)
    assert (type(told), told.message) == (EngineRejected, words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ('cannot overwrite directory "taken" with non-directory "/srv/real"', "/srv/link/taken is a folder in "),
        (
            'cannot overwrite directory "/srv/real/taken" with non-directory "/srv/real"',
            "/srv/link/taken is a folder in ",
        ),
        ('cannot overwrite non-directory "f" with directory "/srv/real"', "/srv/link/f is not a folder in "),
    ],
)
def test_an_entry_is_told_by_its_name_in_the_container_however_the_engine_names_it(words: str, told: str) -> None:
    """Newer engines unpack from a handle of the folder, and name what is in the archive."""
    assert refusal(MACHINE, "/srv/link", f"Docker says: {words}").message.startswith(told)


@pytest.mark.parametrize(
    "words",
    [
        'invalid entry name "../../../x"',
        'invalid hardlink target "../../x"',
        "openat index.html/x: not a directory",
        f"openat {'x' * 30}: file name too long",
    ],
)
def test_what_newer_engines_refuse_in_an_archive_is_its_senders_fault_and_told_in_full(words: str) -> None:
    told = refusal(MACHINE, "/srv", f"Docker says: {words}")
    assert type(told) is InvalidInput
    assert told.message.endswith(f"Docker says: {words}")
