"""The ids of sandboxes: bound to the key that got them, and the same for the same seed."""

from __future__ import annotations

from unittest.mock import Mock

from worker_orchestrator.control.caller import CALLER
from worker_orchestrator.core.key import Key, Right
from worker_orchestrator.core.preview_names import LONGEST_LABEL, LONGEST_PLAIN
from worker_orchestrator.core.project import is_project_id
from worker_orchestrator.http.e2b.names import Names

KEYS = {name: Key(name, name.encode() * 8, (), None, frozenset(Right), 0) for name in ("ann", "bob")}
NAMES = Names(b"secret", Mock(named=KEYS.get))


def given(key: str | None, seed: str = "") -> str:
    token = CALLER.set(None if key is None else KEYS[key])
    try:
        return NAMES.new(seed)
    finally:
        CALLER.reset(token)


def test_an_id_is_of_use_to_the_key_alone_that_got_it() -> None:
    name = given("ann")
    assert NAMES.was_given_to("ann", name)
    assert not NAMES.was_given_to("bob", name)
    assert not NAMES.was_given_to("nobody", name)
    assert not NAMES.was_given_to("ann", given(None))
    assert not NAMES.was_given_to("ann", "sandbox-chosen")
    changed = f"{name[:8]}{'1' if name[8] == '0' else '0'}{name[9:]}"
    assert not NAMES.was_given_to("ann", changed)
    assert not Names(b"other", Mock(named=KEYS.get)).was_given_to("ann", name)
    assert not Names(b"secret", None).was_given_to("ann", name)


def test_the_same_seed_is_the_same_id_for_the_same_key() -> None:
    assert given("ann", "seed") == given("ann", "seed") != given("bob", "seed")
    assert given("ann") != given("ann")


def test_an_id_is_a_name_of_a_host() -> None:
    name = given(None)
    assert is_project_id(name)
    assert len(name) <= LONGEST_PLAIN
    assert len(f"65535-{name}") <= LONGEST_LABEL
