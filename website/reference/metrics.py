"""Every metric, as `GET /metrics` describes it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from tests.unit.exposition import exposition

from website.reference.markdown import code, table

__all__ = ["metrics"]

_INTRODUCTION = """\
# All metrics

Made from what `GET /metrics` of this version shows. [Metrics](../docs/metrics.md) explains the values of their labels, and
what to ask them.

"""


def metrics() -> str:
    rows = []
    with capture_logs():  # it is what a pool shows that lives for a moment
        shown = exposition()
    for family in text_string_to_metric_families(shown):
        labels = sorted({key for sample in family.samples for key in sample.labels} - {"le"})
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append((code(name), family.type, ", ".join(map(code, labels)), family.documentation))
    return _INTRODUCTION + table(("metric", "type", "labels", "meaning"), rows)
