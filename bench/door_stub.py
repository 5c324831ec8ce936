"""A server that answers each create of E2B's client with the same sandbox, and stores nothing.

usage: python -m bench.door_stub PORT
"""

from __future__ import annotations

import sys
from typing import Final

import uvicorn
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

_BODY: Final = (
    b'{"sandboxID":"sandbox-0123456789abcdef0123","templateID":"base","clientID":"c","envdVersion":"0.5.7",'
    b'"envdAccessToken":"t","domain":null}'
)
_HEADERS: Final = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]


async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 201, "headers": _HEADERS, "trailers": False})
    await send({"type": "http.response.body", "body": _BODY, "more_body": False})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
