from __future__ import annotations

import pytest

from worker_orchestrator.store.cluster.calls import (
    Answer,
    Call,
    Delete,
    Kind,
    Outdated,
    Patch,
    Read,
    Steps,
    Verdict,
    together,
)


def a_read(name: str) -> Call:
    return Read(Kind.POD, name)


def an_answer(text: str) -> Answer:
    return Answer(Verdict.DONE, message=text)


def asks(*names: str) -> Steps[str]:
    """One call after the other. Returns what it was told."""
    told = ""
    for name in names:
        (answer,) = yield (a_read(name),)
        told += answer.message
    return told


def test_steps_that_are_taken_together_are_one_round_of_calls_after_the_other() -> None:
    steps = together([asks("a", "b"), asks(), asks("c")])
    assert next(steps) == (a_read("a"), a_read("c"))
    assert steps.send((an_answer("1"), an_answer("2"))) == (a_read("b"),)
    with pytest.raises(StopIteration) as end:
        steps.send((an_answer("3"),))
    assert end.value.value == ["13", "", "2"]


def test_no_steps_are_over_at_once() -> None:
    with pytest.raises(StopIteration) as end:
        next(together([]))
    assert end.value.value == []


def test_steps_with_several_calls_get_their_own_answers() -> None:
    def asks_twice() -> Steps[list[str]]:
        answers = yield (a_read("a"), a_read("b"))
        return [answer.message for answer in answers]

    steps = together([asks("c"), asks_twice()])
    assert next(steps) == (a_read("c"), a_read("a"), a_read("b"))
    with pytest.raises(StopIteration) as end:
        steps.send((an_answer("1"), an_answer("2"), an_answer("3")))
    assert end.value.value == ["1", ["2", "3"]]


def test_what_one_of_them_finds_out_ends_all() -> None:
    def fails() -> Steps[str]:
        yield (a_read("a"),)
        raise Outdated("Another leader writes.")

    steps = together([asks("b", "c"), fails()])
    next(steps)
    with pytest.raises(Outdated):
        steps.send((an_answer(""), an_answer("")))


@pytest.mark.parametrize("version", ["", "0"])
def test_no_write_goes_without_a_version_that_was_read(version: str) -> None:
    """To Kubernetes these are no condition at all (docs/kubernetes.md)."""
    with pytest.raises(AssertionError, match="a version that was read"):
        Patch(Kind.POD, "worker-1", version, {})
    with pytest.raises(AssertionError, match="a version that was read"):
        Delete(Kind.POD, "worker-1", "uid-1", version)


def test_no_removal_goes_without_a_uid() -> None:
    with pytest.raises(AssertionError, match="says what"):
        Delete(Kind.POD, "worker-1", "", "1")
