"""What Docker's words about a path mean: no caller ever hears of a path of Docker's host."""

from __future__ import annotations

import pytest

from worker_orchestrator.engines.docker_paths import refusal
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
