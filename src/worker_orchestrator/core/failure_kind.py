"""The kinds of failures of machines."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["FailureKind"]


class FailureKind(StrEnum):
    """Why a machine failed, for those who count failures: the machine's `reason` says it in words, for people."""

    STOPPED_ANSWERING = "stopped_answering"  # it served, and answers no probe any more
    HELD_UP = "held_up"  # it runs, and somebody keeps it from serving
    START_TIMEOUT = "start_timeout"  # its container did not come to run in time
    ANSWER_TIMEOUT = "answer_timeout"  # its container runs, and did not answer in time
    NOT_RESTARTED = "not_restarted"  # no restart brought it back
    VANISHED = "vanished"  # somebody else removed its container
    OUT_OF_MEMORY = "out_of_memory"  # the kernel ended it
    KILLED = "killed"  # somebody ended it from outside
    EXITED = "exited"  # it ended by itself
    REJECTED = "rejected"  # the engine refused to create it
    OTHER = "other"
