"""A service that wants a token, of whatever tests need one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually


@contextmanager
def a_guarded_service(folder: Path, token: str, *flags: str) -> Iterator[Running]:
    """One that answers, with this token in the file `token` of its folder."""
    (folder / "token").touch(0o600)
    (folder / "token").write_text(token)
    with a_service(folder, *flags, "--token-file", str(folder / "token"), start=False) as running:
        running.start(await_answer=False)
        eventually(lambda: _lives(running), "the service answers", within_s=30)
        yield running


def _lives(service: Running) -> bool:
    try:
        return service.get("/livez").status == 200
    except OSError:
        return False
