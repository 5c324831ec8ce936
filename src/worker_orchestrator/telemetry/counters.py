"""Counters and histograms that are cheap to update.

Those of prometheus_client take a lock and search their buckets one by one, which takes 1 to 2 µs, and an assign updates six.
Here everything happens on one thread, so counting adds to a number in a dictionary (0.1 µs), and observing is a bisection
(0.3 µs). prometheus_client still makes the exposition, from its own metric families.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["Durations", "Histogram", "Tallies"]

_Key = TypeVar("_Key", bound=Hashable)


class Tallies(Collector, Generic[_Key]):
    """A counter for each key, shown from the beginning: `tallies.of[key] += 1`. `labels` has each key's label values."""

    def __init__(self, name: str, text: str, names: Sequence[str], labels: Mapping[_Key, Sequence[str]]) -> None:
        self._name, self._text, self._names, self._labels = name, text, names, labels
        self.of: dict[_Key, int] = dict.fromkeys(labels, 0)

    def add(self, labels: Mapping[_Key, Sequence[str]]) -> None:
        """More keys, which become known while the service runs. Those that are there stay as they are."""
        self._labels = {**labels, **self._labels}
        self.of = {**dict.fromkeys(labels, 0), **self.of}

    def remove(self, keys: Collection[_Key]) -> None:
        """These are not shown any more, and begin at 0 if they are added again."""
        self._labels = {key: labels for key, labels in self._labels.items() if key not in keys}
        self.of = {key: count for key, count in self.of.items() if key not in keys}

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=self._names)
        for key, labels in self._labels.items():
            family.add_metric(labels, self.of[key])
        yield family


class Histogram:
    """How many durations fell below each bound, and their sum, in seconds."""

    __slots__ = ("_bounds_s", "counts", "total_s")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.total_s = 0.0

    def observe(self, took_s: float) -> None:
        self.counts[bisect_left(self._bounds_s, took_s)] += 1
        self.total_s += took_s


class Durations(Collector, Generic[_Key]):
    """A histogram for each key, shown from the beginning: `durations.of[key].observe(took_s)`."""

    def __init__(
        self,
        name: str,
        text: str,
        names: Sequence[str],
        labels: Mapping[_Key, Sequence[str]],
        bounds_s: Sequence[float],
    ) -> None:
        self._name, self._text, self._names, self._labels = name, text, names, labels
        self._bounds = [*map(str, bounds_s), "+Inf"]
        self._bounds_s = bounds_s
        self.of = {key: Histogram(bounds_s) for key in labels}

    def add(self, labels: Mapping[_Key, Sequence[str]]) -> None:
        """As `Tallies.add`."""
        self._labels = {**labels, **self._labels}
        self.of = {**{key: Histogram(self._bounds_s) for key in labels}, **self.of}

    def remove(self, keys: Collection[_Key]) -> None:
        """As `Tallies.remove`."""
        self._labels = {key: labels for key, labels in self._labels.items() if key not in keys}
        self.of = {key: histogram for key, histogram in self.of.items() if key not in keys}

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._names)
        for key, labels in self._labels.items():
            histogram = self.of[key]
            below = accumulate(histogram.counts)
            family.add_metric(labels, list(zip(self._bounds, below, strict=True)), histogram.total_s)
        yield family
