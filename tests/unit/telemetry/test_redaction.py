"""Which environment values are shown, and what of them."""

from __future__ import annotations

import time

import pytest

from worker_orchestrator.telemetry.redaction import LEFT_OUT, without_secrets


@pytest.mark.parametrize(
    "name",
    [
        *("PASSWORD", "POSTGRES_PASSWORD", "dbPassword", "MYSQL_PWD", "DB_PASS", "PGPASSWORD", "SSH_PASSPHRASE"),
        *("SECRET", "CLIENT_SECRET", "API_TOKEN", "githubToken", "NPM_TOKEN", "AWS_SECRET_ACCESS_KEY", "apikey", "API-KEY"),
        *("PRIVATE_KEY", "KEY", "GOOGLE_CREDENTIALS", "BASIC_AUTH", "HASH_SALT", "SESSION_COOKIE", "JWT", "GH_PAT"),
    ],
)  # fmt: skip
def test_what_its_name_calls_a_secret_is_left_out_whole(name: str) -> None:
    assert without_secrets(name, "no matter what") == LEFT_OUT


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("postgresql://postgres:geheim@host:5432/app", "postgresql://postgres:…@host:5432/app"),
        ("redis://:p@ss/word@host:1/0", "redis://:…@host:1/0"),
        ("https://host/a?x=1&token=abc&y=2", "https://host/a?x=1&token=…&y=2"),
        ("Server=a;Password=hunter2;Database=b", "Server=a;Password=…;Database=b"),
        ('{"user": "a", "password": "two words"}', '{"user": "a", "password": …}'),
        ("-Xmx1g -Dkeystore.password=abc -Da=b", "-Xmx1g -Dkeystore.password=… -Da=b"),
        ("serve --token abc --port 1", "serve --token … --port 1"),
        ("host=a user=b password='c d'", "host=a user=b password=…"),
    ],
)
def test_a_secret_within_a_value_is_left_out_and_the_rest_is_shown(value: str, shown: str) -> None:
    assert without_secrets("DATABASE_URL", value) == shown


@pytest.mark.parametrize(
    "value",
    [
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl",
        "https://AKIA1234567890ABCDEF@host/",
        "8c5f2f3e-1111-4222-8333-444455556666",
        "-----BEGIN PRIVATE" + " KEY-----\nabc",
        "x" * 5000,
    ],
)
def test_what_looks_like_a_secret_is_left_out_under_any_name(value: str) -> None:
    assert without_secrets("THING", value) == LEFT_OUT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"),
        ("LD_LIBRARY_PATH", "/usr/lib/x86_64-linux-gnu:/opt/lib"),
        ("DATABASE_URL", "postgresql://postgres@host.docker.internal:5432/app"),
        ("POSTGRES_PASSWORD_FILE", "/run/secrets/password"),
        ("PWD", "/work"),
        ("PYTHON_VERSION", "3.12.4"),
        ("LANG", "C.UTF-8"),
        ("KEYBOARD", "us"),
        ("MONKEY", "business"),
        ("NODE_OPTIONS", "--max-old-space-size=4096"),
        ("SERVICE", "my-service-production-eu-west-1"),
        ("API_TOKEN", ""),
    ],
)
def test_everything_else_is_shown_as_it_is(name: str, value: str) -> None:
    assert without_secrets(name, value) == value


@pytest.mark.parametrize(
    "hostile", ["://a:" * 819, "token" * 819, "a" * 4096, "a=" * 2048, "key:" * 1000, "pass \n" * 600]
)
def test_no_value_keeps_the_service_busy(hostile: str) -> None:
    """An image may have any environment."""
    begun_at = time.process_time()
    without_secrets("THING", hostile)
    assert time.process_time() - begun_at < 0.2
