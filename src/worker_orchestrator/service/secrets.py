"""The secrets that the service starts with, read where the settings say."""

from __future__ import annotations

from typing import Final

import structlog

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.http.server.listening import is_beyond_loopback
from worker_orchestrator.settings import token as token_file
from worker_orchestrator.settings import webhook_secret
from worker_orchestrator.settings.settings import Settings

__all__ = ["read_token", "read_webhook_key"]

_log: Final = structlog.get_logger()


def read_token(settings: Settings) -> str:
    """The token that callers must send; empty if none is needed. Raises InvalidSetting if one is needed and missing."""
    token = settings.token or (token_file.read(settings.token_file) if settings.token_file is not None else "")
    if not token and not settings.insecure_no_auth and is_beyond_loopback(settings.host):
        raise InvalidSetting(
            f"--host {settings.host} can be reached from other computers, and anyone who reaches it can create containers "
            "here. Set a token (--token-file FILE), allow calls without one (--insecure-no-auth), or listen on localhost."
        )
    return token


def read_webhook_key(settings: Settings) -> bytes:
    """With what messages to the webhook are signed; empty if there is none. Raises InvalidSetting."""
    if not settings.webhook:
        return b""
    if settings.webhook_secret:
        return webhook_secret.key_of(settings.webhook_secret)
    if settings.webhook_secret_file is not None:
        return webhook_secret.key_of(webhook_secret.read(settings.webhook_secret_file))
    file = settings.state_dir.absolute() / webhook_secret.FILE
    key = webhook_secret.key_of(webhook_secret.read_or_make(file))
    _log.info("messages to the webhook are signed", secret_file=str(file))
    return key
