"""Server-sent events, in whatever pieces they come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_orchestrator.client.server_sent_events import Frame, FrameReader

TEXT = (
    'id: 1\n\n: ping\n\nid: 2\nevent: assigned\ndata: {"a":\ndata: "é"}\nretry: 5\n\n\n\n'
    "id:3\r\ndata\r\n\r\nid: 4\rdata:  x\r\rid: 5\n"
)
FRAMES = [Frame("1", "", ""), Frame("2", "assigned", '{"a":\n"é"}'), Frame("3", "", ""), Frame("4", "", " x")]


@given(st.lists(st.integers(0, len(TEXT.encode()))))
def test_the_cuts_make_no_difference(cuts: list[int]) -> None:
    """Bytes, lines and line ends may be split anywhere."""
    content, frames = TEXT.encode(), FrameReader()
    places = [0, *sorted(cuts), len(content)]
    found = [f for at, to in pairwise(places) for f in frames.feed(content[at:to])]
    assert found == FRAMES


@pytest.mark.parametrize("half", ["id: 5", "id: 5\ndata: x", "id: 5\ndata: x\n"])
def test_half_a_frame_is_none(half: str) -> None:
    """Only the blank line behind it makes it one."""
    assert list(FrameReader().feed(half.encode())) == []
