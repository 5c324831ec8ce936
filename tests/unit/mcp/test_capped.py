"""What a model sees of a long output, and of a long file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_orchestrator.mcp.capped import Capped
from worker_orchestrator.mcp.failures import ToolFailed
from worker_orchestrator.mcp.files import LONGEST_LINE, lines_of


@given(st.lists(st.text(alphabet="ab\n", max_size=20), max_size=20), st.integers(1, 20).map(lambda half: 2 * half))
def test_head_and_tail_are_kept_and_all_that_is_cut_is_counted(pieces: list[str], limit: int) -> None:
    output, whole = Capped(limit), "".join(pieces)
    for piece in pieces:
        output.add(piece)
    assert output.length == len(whole)
    assert output.cut == max(len(whole) - limit, 0)
    if not output.cut:
        assert output.text() == whole
        return
    half = limit // 2
    assert output.text().startswith(f"{whole[:half]}\n[{output.cut} of {len(whole)} characters cut here.")
    assert output.text().endswith(f"]\n{whole[-half:]}")


def test_lines_are_told_with_where_to_go_on() -> None:
    assert lines_of("a\nb\nc\n", 1, 9, 100) == "a\nb\nc"
    assert lines_of("a\nb\nc", 2, 1, 100) == "b\n[Lines 2 to 2 of 3. To go on, read from first_line 3.]"
    assert lines_of("aaaa\nbbbb\ncccc", 1, 9, 5).startswith("aaaa\nbbbb\n[Lines 1 to 2 of 3.")
    assert "[5 characters of this line cut]" in lines_of("x" * (LONGEST_LINE + 5), 1, 1, 9000)
    with pytest.raises(ToolFailed, match="has 3 lines"):
        lines_of("a\nb\nc\n", 4, 1, 100)
