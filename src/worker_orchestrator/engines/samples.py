"""How busy the processor is with an instance: the difference of two samples of what it has computed.

A recent sample of the same instance serves as the first, so a caller who asks every few seconds costs one sample each time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

__all__ = ["Sample", "Samples", "fits"]

_OLDEST_S: Final = 60.0
_CLOSEST_S: Final = 0.1  # the difference of closer samples depends more on the clock than on the instance
_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """What an instance had computed at a time; both in seconds."""

    taken_s: float
    cpu_s: float


def fits(before: Sample | None, now: Sample) -> bool:
    """Whether the two samples show how busy the processor was. An instance that was started again counts from 0."""
    return before is not None and _CLOSEST_S <= now.taken_s - before.taken_s <= _OLDEST_S and before.cpu_s <= now.cpu_s


class Samples:
    """The last sample of each instance, by its native id, the oldest first."""

    def __init__(self) -> None:
        self._samples: OrderedDict[str, Sample] = OrderedDict()

    def __len__(self) -> int:
        return len(self._samples)

    def of(self, native_id: str) -> Sample | None:
        return self._samples.get(native_id)

    def remember(self, native_id: str, sample: Sample) -> None:
        self._samples[native_id] = sample
        self._samples.move_to_end(native_id)
        while len(self._samples) > _REMEMBERED:
            self._samples.popitem(last=False)
