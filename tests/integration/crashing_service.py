"""The service, killed at one exact point between two of its effects.

usage: crashing_service.py CALL WHEN N serve FLAG…    kills itself with SIGKILL `before` or `after` the N-th CALL, which is
`commit`, `create`, `restart` or `destroy`
"""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

from worker_orchestrator.cli import main
from worker_orchestrator.engines.docker import DockerEngine
from worker_orchestrator.store import Store

OWNERS: Final[dict[str, type]] = {
    "commit": Store,
    "create": DockerEngine,
    "restart": DockerEngine,
    "destroy": DockerEngine,
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash_at(owner: type, name: str, when: str, number: int) -> None:
    """Replace one method by itself, with an end of the process before or after its `number`-th call."""
    method: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def counts() -> bool:
        nonlocal calls
        calls += 1
        return calls == number

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        fatal = counts()
        if fatal and when == "before":
            die()
        result = method(*args, **kwargs)
        if fatal:
            die()
        return result

    @functools.wraps(method)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        fatal = counts()
        if fatal and when == "before":
            die()
        result = await method(*args, **kwargs)
        if fatal:
            die()
        return result

    setattr(owner, name, call_async if inspect.iscoroutinefunction(method) else call)


if __name__ == "__main__":
    what, when, number, *flags = sys.argv[1:]
    assert when in {"before", "after"}, when
    crash_at(OWNERS[what], what, when, int(number))
    sys.argv = ["orchestrator", *flags]
    main()
