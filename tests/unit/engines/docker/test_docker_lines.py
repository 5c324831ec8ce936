"""Which pieces make a line: for any pieces, any number of lines, and whatever is written meanwhile."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker_orchestrator.engines.docker.lines import Begin, LastLines, Lines, Piece, Seen

written = st.lists(st.tuples(st.sampled_from([1, 2]), st.booleans()), min_size=1, max_size=30)


def pieces_of(kinds: list[tuple[int, bool]], at_once: int = 1) -> list[Piece]:
    """`at_once`: so many have the same time."""
    return [
        Piece.of(stream, b"2026-01-01T00:00:00.%09dZ %d%s" % (number // at_once, number, b"\n" if ends else b","))
        for number, (stream, ends) in enumerate(kinds)
    ]


def lines_of(pieces: list[Piece]) -> list[bytes]:
    """Each whole, in the order of their beginnings."""
    lines: list[bytes] = []
    going_on: dict[int, int] = {}
    for piece in pieces:
        if piece.stream not in going_on:
            going_on[piece.stream] = len(lines)
            lines.append(b"")
        lines[going_on[piece.stream]] += piece.text
        if piece.ends_line:
            del going_on[piece.stream]
    return lines


def last_lines(pieces: list[Piece], count: int) -> Begin:
    """As it is found with looks at more and more of them."""
    looked_at = 1
    while True:
        seen = Seen()
        for piece in pieces[-looked_at:]:
            seen.add(piece)
        found = seen.begin(count, all_of_them=looked_at >= len(pieces))
        if found is not None:
            return found
        assert looked_at < len(pieces)
        looked_at += 1


@given(written, st.integers(1, 8), written, st.integers(1, 9))
def test_the_last_lines_are_whole_and_no_more_than_were_asked_for(
    kinds: list[tuple[int, bool]], count: int, more: list[tuple[int, bool]], at_once: int
) -> None:
    """Of two outputs that are written at the same time; what comes meanwhile goes on with them, and is no line too many.

    Docker gives each piece a time of its own, Podman one to all that it read at once.
    """
    every = pieces_of([*kinds, *more], at_once)
    before = every[: len(kinds)]
    begin = last_lines(before, count)
    lines = Lines(timestamps=False, begin=begin, within=len(every), most=count)
    told = []
    for piece in every:
        told += [(piece, text) for text in lines.texts(piece)]
    assert lines.has_begun
    assert len(lines_of([piece for piece, _ in told])) <= count
    until_then = [piece for piece, _ in told if piece in before]
    assert lines_of(until_then) == lines_of(before)[-count:]


def test_what_cannot_be_found_again_is_given_up() -> None:
    """It was moved away, or more was written than was asked for."""
    pieces = pieces_of([(1, True)] * 10)
    lines = Lines(timestamps=False, begin=Begin(2, 0, frozenset(), 1), within=5)
    over = []
    for piece in pieces:
        assert not list(lines.texts(piece))
        over.append(lines.is_over)
    assert over == [False] * 4 + [True] * 6
    assert not lines.has_begun


def test_a_quiet_output_is_not_looked_for_for_ever() -> None:
    """A line of it whose piece before is far away is taken for a whole one; one that goes on is not."""
    for ends in (True, False):
        seen = Seen()
        for piece in pieces_of([(1, True)] * 2000 + [(2, ends)] + [(1, True)] * 2):
            seen.add(piece)
        found = seen.begin(3, all_of_them=False)
        assert (found is not None and found.pieces == 3) == ends


def test_a_time_stands_before_each_line_once() -> None:
    lines = Lines(timestamps=True)
    pieces = [
        Piece.of(1, b"2026-01-01T00:00:00Z a"),
        Piece.of(1, b"2026-01-01T00:00:00Z b\n"),
        Piece.of(1, b"no time\n"),
    ]
    said = b"".join(text for piece in pieces for text in lines.texts(piece))
    assert said == b"2026-01-01T00:00:00Z ab\nno time\n"


def by_time(*pieces: Piece, count: int = 9, most_bytes: int = 100) -> bytes:
    lines, last = Lines(timestamps=True), LastLines(count, most_bytes)
    for piece in pieces:
        for part, begins in lines.parts(piece):
            last.add(part, begins=begins)
    return last.text()


def test_last_lines_of_two_streams_stand_in_the_order_of_their_times() -> None:
    """To the nanosecond, however many digits and whichever zone they are written with."""
    told = by_time(
        Piece.of(1, b"2026-01-01T00:00:00.5Z out 2\n"),
        Piece.of(1, b"2026-01-01T00:00:02.000000002Z out 4\n"),
        Piece.of(2, b"2026-01-01T01:00:00.400000000+01:00 err 1\n"),
        Piece.of(2, b"2026-01-01T00:00:02.000000001Z err 3\n"),
    )
    assert told == b"err 1\nout 2\nerr 3\nout 4\n"


def test_lines_of_one_time_stay_in_the_order_in_which_they_were_kept() -> None:
    """And so does one without a time that can be read, behind the one before it."""
    told = by_time(
        Piece.of(2, b"2026-01-01T00:00:00Z b\n"),
        Piece.of(1, b"2026-01-01T00:00:00Z a\n"),
        Piece.of(1, b"no time\n"),
        Piece.of(1, b"2026-19-01T00:00:00Z no month\n"),
    )
    assert told == b"b\na\nno time\nno month\n"
    assert by_time(Piece.of(1, b"no time\n")) == b"no time\n"


def test_last_lines_are_whole_though_pieces_of_the_other_stream_came_between() -> None:
    """The last ones; of each line no more than the end; and one that nobody ended is a line."""
    told = by_time(
        Piece.of(1, b"2026-01-01T00:00:00Z gone\n"),
        Piece.of(1, b"2026-01-01T00:00:01Z a long "),
        Piece.of(2, b"2026-01-01T00:00:02Z err"),
        Piece.of(1, b"2026-01-01T00:00:03Z line\n"),
        count=2,
        most_bytes=8,
    )
    assert told == b"ng line\nerr\n"


def test_long_lines_of_many_machines_take_little_memory() -> None:
    """Whatever their number, the last ones are kept, and of the last one its end."""
    last = LastLines(30, 1000)
    for number in range(100):
        last.add(Piece.of(1, b"2026-01-01T00:00:00Z %d" % number + b"x" * 300 + b"\n"), begins=True)
    said = last.text()
    assert said.endswith(b"99" + b"x" * 300 + b"\n")
    assert 600 < len(said) <= 1000
    last.add(Piece.of(1, b"2026-01-01T00:00:01Z " + b"y" * 5000 + b"z"), begins=True)
    assert last.text() == b"y" * 999 + b"z\n"
