"""A file that is sent as a body: as much of it as was announced, whatever happens to it meanwhile."""

from __future__ import annotations

import io

import pytest

from worker_orchestrator.client.call_steps import Upload
from worker_orchestrator.client.request_encoding import PIECE_BYTES, body_pieces

BEHIND = b"DELETE /victim HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1])
def test_what_is_written_to_a_file_while_it_is_sent_is_not_sent(size: int) -> None:
    """The service would take it for another request."""
    file = io.BytesIO(b"before" + b"x" * size + BEHIND)
    upload = Upload(file, 6, size)
    for _ in range(2):  # however often it is tried
        sent = list(body_pieces(upload))
        assert b"".join(sent) == b"x" * size
        assert all(len(piece) <= PIECE_BYTES for piece in sent)


def test_a_file_that_has_become_shorter_is_an_error() -> None:
    with pytest.raises(OSError, match="3 bytes shorter"):
        list(body_pieces(Upload(io.BytesIO(b"12"), 0, 5)))


def test_what_cannot_tell_its_size_is_sent_to_its_end() -> None:
    data = b"x" * (PIECE_BYTES + 1)
    assert b"".join(body_pieces(Upload(io.BytesIO(data), 0, None))) == data
