"""The service, killed at one exact point between two of its effects.

usage: crashing_service.py POINT WHEN N serve FLAG…    kills itself with SIGKILL `before`, `during` or `after` the N-th POINT

A point is a call (`commit`, `create`, `start`, `restart`, `stop`, `destroy`, `release`, `configure`, `hook`, `clean`), the
commit of a certain change (`created`, `answered`, `assigned`, `released`, `slept`, …), or the answer to a request: after
`assigning`, `releasing`, `destroying`, `setting-up` all is done and nothing was sent.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

from worker_orchestrator.cli import main
from worker_orchestrator.control.assigning.short_way import ShortWay
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Cause
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.http.document import Document
from worker_orchestrator.store.store import Store

CALLS: Final[dict[str, tuple[type, str]]] = {
    "commit": (Store, "commit"),
    "create": (DockerEngine, "create"),
    "start": (DockerEngine, "_start"),
    "restart": (DockerEngine, "restart"),
    "stop": (DockerEngine, "stop"),
    "destroy": (DockerEngine, "destroy"),
    "configure": (DockerEngine, "configure"),
    "hook": (DockerEngine, "exec_into"),
    "clean": (DockerEngine, "clean"),
    "release": (ShortWay, "take_back"),
    "assigning": (Document, "_assign_reply"),
    "releasing": (Document, "_release_reply"),
    "destroying": (Document, "_destroy"),
    "setting-up": (Orchestrator, "assign_machine"),
}
SENT_S: Final = 0.02
"""A request that was begun is on its way to the engine after this."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash_at(owner: type, name: str, when: str, number: int, counts: Callable[..., bool] = lambda *_: True) -> None:
    """Replace one method by itself, with an end of the process at its `number`-th call of those that count."""
    method: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def is_fatal(*args: Any) -> bool:
        nonlocal calls
        calls += counts(*args)
        return calls == number and counts(*args)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        fatal = is_fatal(*args)
        if fatal and when == "before":
            die()
        result = method(*args, **kwargs)
        if fatal:
            die()
        return result

    @functools.wraps(method)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        fatal = is_fatal(*args)
        if fatal and when == "before":
            die()
        if fatal and when == "during":
            asyncio.get_running_loop().call_later(SENT_S, die)
        result = await method(*args, **kwargs)
        if fatal:
            die()
        return result

    setattr(owner, name, call_async if inspect.iscoroutinefunction(method) else call)


if __name__ == "__main__":
    point, when, number, *flags = sys.argv[1:]
    assert when in {"before", "during", "after"}, when
    if point in CALLS:
        crash_at(*CALLS[point], when, int(number))
    else:
        cause = Cause(point)
        crash_at(Store, "commit", when, int(number), lambda _, changes, *__: any(c.cause is cause for c in changes))
    sys.argv = ["orchestrator", *flags]
    main()
