"""Why a connection failed, in a few words for people, from the exceptions of urllib3 and aiohttp."""

from __future__ import annotations

import os
import ssl
from typing import Final

__all__ = ["reason_of"]

_CONNECTION_CUT: Final = frozenset(
    {
        "ClientPayloadError",
        "IncompleteRead",
        "InvalidChunkLength",
        "ServerDisconnectedError",
    }
)
"""Classes by name, so that neither library is loaded just to name the other's."""


def reason_of(error: BaseException) -> str:
    """The innermost cause of what a library raised."""
    chain = _causes(error)
    for cause in reversed(chain):
        if broken := _tls_reason(cause):
            return broken
        if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
            return os.strerror(cause.errno).lower()
        if isinstance(cause, OSError) and cause.strerror:  # a failed look-up of a name has error numbers of its own
            return cause.strerror.lower()
    if any(isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__ for cause in chain):
        return "no answer in time"
    if any(_is_cut(cause) for cause in chain):
        return "the connection was cut"
    return str(error) or type(error).__name__


def _causes(error: BaseException) -> list[BaseException]:
    """The error, and below it the causes of each, the innermost last."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__ or next((a for a in cause.args if isinstance(a, Exception)), None)
    return chain


def _tls_reason(error: BaseException) -> str:
    """Why TLS failed; empty for any other error. TLS has error numbers of its own, which are not the system's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
        return f"its certificate is not trusted ({reason}; SSL_CERT_FILE names a file of authorities to trust)"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS, which https:// needs"
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "the connection was cut"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({str(error.reason or error).replace('_', ' ').lower()})"
    return ""


def _is_cut(error: BaseException) -> bool:
    return (
        isinstance(error, ConnectionError)
        or type(error).__name__ in _CONNECTION_CUT
        or "ended prematurely" in str(error)
    )
