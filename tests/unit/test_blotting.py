"""What a hook prints is shown without the values of the request."""

from __future__ import annotations

import random
import re
import time

import pytest

from worker_orchestrator.telemetry.blotting import BlottedOutput, blotted


def test_each_value_is_blotted_out_the_longest_first() -> None:
    assert blotted("a hunter2, a hunter22 and hunter\n", ["hunter2", "hunter22"]) == "a ***, a *** and hunter"


def test_without_values_nothing_is() -> None:
    assert blotted("as it is", ["", ""]) == "as it is"
    assert blotted("as it is", []) == "as it is"


def test_a_value_with_characters_that_mean_something_in_patterns() -> None:
    assert blotted("it is a.b*[c", ["a.b*[c"]) == "it is ***"
    assert blotted("it is aXb", ["a.b"]) == "it is aXb"


@pytest.mark.parametrize("seed", range(40))
def test_a_value_that_comes_in_pieces_is_found(seed: int) -> None:
    chance = random.Random(seed)
    values = ["correct-horse", "correct", "horse-battery", "x\ny"]
    words = [chance.choice([*values, "staple", "cor", "\n", "hor"]) for _ in range(30)]
    text = " ".join(words).encode()
    output = BlottedOutput(values)
    while text:
        size = chance.randint(1, 9)
        output.add("stdout", text[:size])
        text = text[size:]
    shown = output.last_lines()
    assert not any(value in shown for value in values)


def test_two_streams_do_not_tear_each_others_values() -> None:
    output = BlottedOutput(["hunter2"])
    output.add("stdout", b"pass hun")
    output.add("stderr", b"warning\n")
    output.add("stdout", b"ter2\n")
    shown = output.last_lines()
    assert "hunter2" not in shown
    assert "***" in shown
    assert "warning" in shown


def test_the_end_of_a_flood_is_kept_and_no_part_of_a_value_is_left_at_its_beginning() -> None:
    secret = "0123456789abcdef" * 4
    output = BlottedOutput([secret])
    for number in range(2000):
        output.add("stdout", f"line {number} {secret}\n".encode())
    shown = output.last_lines()
    assert shown.splitlines()[-1] == "line 1999 ***"
    assert len(shown.splitlines()) == 20
    assert not any(secret[at : at + 8] in shown for at in range(len(secret) - 8))


def test_a_line_without_an_end_is_kept_as_far_as_there_is_room() -> None:
    output = BlottedOutput([])
    output.add("stdout", b"x" * 100_000)
    assert output.last_lines() == "x" * 4096


def test_what_a_terminal_would_act_on_is_not_repeated() -> None:
    assert blotted("red \x1b[31mtext\x1b[0m\r\nnext\x07", []) == "red text\nnext\ufffd"


def test_a_value_with_a_sequence_for_terminals_in_it() -> None:
    assert blotted("pass hun\x1b[1mter2", ["hunter2"]) == "pass ***"


def test_each_line_of_a_value_is_a_value_too() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n}\n"
    assert blotted(f"lines: {key.replace(chr(10), ' ')}", [key]) == "lines: *** *** } "
    assert blotted("brackets } stay", [key]) == "brackets } stay"


def test_values_that_overlap() -> None:
    assert blotted("it is prefix-AAAA-rest-of-it, so", ["prefix-AAAA", "AAAA-rest-of-it"]) == "it is ***, so"


def test_a_value_that_is_cut_off_with_the_output() -> None:
    """As when a hook is killed while it prints."""
    secret = "0123456789" * 500
    assert blotted(f"it is {secret[:4000]}", [secret]) == "it is ***"
    assert blotted("it is 01", [secret]) == "it is 01", "that may be anything"


def test_lines_come_in_the_order_in_which_they_ended() -> None:
    output = BlottedOutput(["x"])
    for stream, data in [("out", b"one\ntw"), ("err", b"three\n"), ("out", b"o\n"), ("err", b"four")]:
        output.add(stream, data)
    assert output.last_lines() == "one\nthree\ntwo\nfour"


def test_with_too_many_values_nothing_is_shown() -> None:
    assert blotted("some words", ["\n".join(f"line {number}" for number in range(3000))]) == "***"
    assert not blotted("", ["\n".join(f"line {number}" for number in range(3000))])


def test_large_values_cost_no_time_before_the_end_and_leave_nothing_behind() -> None:
    """Patterns would be kept by Python's own cache, values in them, and take seconds to make."""
    values = [f"{number:04}" * 16_000 for number in range(60)]
    patterns = len(re._cache)  # type: ignore[attr-defined] # what is to be found out
    begun = time.perf_counter()
    output = BlottedOutput(values)
    for _ in range(1000):
        output.add("out", b"a line of output\n")
    assert time.perf_counter() - begun < 0.1
    assert "***" not in output.last_lines()
    assert len(re._cache) == patterns  # type: ignore[attr-defined]


def test_it_says_whether_it_takes_long() -> None:
    assert BlottedOutput(["a secret"]).is_quick
    assert not BlottedOutput(["a secret" * 4000]).is_quick
