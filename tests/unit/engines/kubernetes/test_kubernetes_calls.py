"""What each refusal and each broken call of an API server means."""

from __future__ import annotations

import json

import aiohttp
import pytest

from worker_orchestrator.engines.kubernetes.calls import (
    Refusal,
    is_expired,
    is_missing,
    looking,
    reading,
    refusal_of,
    status_of,
    writing,
)
from worker_orchestrator.errors import EngineError, EngineObstructed, EngineRejected, EngineUnavailable, OutcomeUnknown

QUOTA = 'pods "w" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2'
NO_ACCOUNT = 'pods "w" is forbidden: error looking up service account a/default: serviceaccount "default" not found'


@pytest.mark.parametrize(
    ("error", "written", "read"),
    [
        (Refusal(401, message="Unauthorized"), EngineUnavailable, EngineUnavailable),
        (Refusal(403, message="may not"), EngineRejected, EngineRejected),
        (Refusal(403, message=QUOTA), EngineObstructed, EngineObstructed),
        (Refusal(403, message=NO_ACCOUNT), EngineObstructed, EngineObstructed),
        (Refusal(404), EngineRejected, EngineRejected),
        (Refusal(409), EngineRejected, EngineRejected),
        (Refusal(410), EngineRejected, EngineRejected),
        (Refusal(422), EngineRejected, EngineRejected),
        (Refusal(429), EngineUnavailable, EngineUnavailable),
        (Refusal(500, message="etcdserver: request timed out"), OutcomeUnknown, EngineUnavailable),
        (Refusal(503), OutcomeUnknown, EngineUnavailable),
        (Refusal(504), OutcomeUnknown, EngineUnavailable),
        (aiohttp.ServerDisconnectedError(), OutcomeUnknown, EngineUnavailable),
        (aiohttp.ConnectionTimeoutError(), EngineUnavailable, EngineUnavailable),
        (TimeoutError(), OutcomeUnknown, EngineUnavailable),
        (ConnectionResetError(), OutcomeUnknown, EngineUnavailable),
        (KeyError("metadata"), OutcomeUnknown, EngineUnavailable),
    ],
)
def test_each_error_means_one_thing_for_a_write_and_for_a_read(
    error: Exception, written: type[EngineError], read: type[EngineError]
) -> None:
    with pytest.raises(EngineError) as of_write, writing("create pods"):
        raise error
    with pytest.raises(EngineError) as of_read, reading("read pods"):
        raise error
    assert (type(of_write.value), type(of_read.value)) == (written, read)


def test_what_must_have_an_answer_is_unavailable_when_it_is_refused() -> None:
    with (
        pytest.raises(EngineUnavailable, match="does not let this service list pods: pods is forbidden"),
        looking("list pods"),
    ):
        raise Refusal(403, message="pods is forbidden")


def test_a_refusal_keeps_its_status() -> None:
    with pytest.raises(EngineRejected) as missing, reading("read pods"):
        raise Refusal(404)
    assert (is_missing(missing.value), is_expired(missing.value), status_of(missing.value)) == (True, False, 404)
    with pytest.raises(EngineRejected) as old, reading("read pods"):
        raise Refusal(410)
    assert is_expired(old.value)
    assert status_of(EngineRejected()) == 0


def test_a_quota_says_what_to_do() -> None:
    with pytest.raises(EngineObstructed) as refused, writing("create pods"):
        raise Refusal(403, message=QUOTA)
    assert "exceeded quota: q" in refused.value.message
    assert "Raise it, or lower max_machines." in refused.value.message
    assert refused.value.kind == "quota"


def test_an_answer_is_read_as_a_status_or_as_what_a_proxy_said() -> None:
    status = {"message": "too old", "reason": "Expired", "details": {"retryAfterSeconds": 2}}
    refusal = refusal_of(410, {}, json.dumps(status).encode())
    assert (refusal.status, refusal.message, refusal.reason, refusal.retry_after_s) == (410, "too old", "Expired", 2.0)
    assert refusal_of(429, {"Retry-After": "7"}, b"").retry_after_s == 7.0
    assert refusal_of(502, {}, b"<html>bad gateway").message == "<html>bad gateway"
    assert refusal_of(500, {}, b"[1]").retry_after_s is None
