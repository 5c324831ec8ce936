"""docs/metrics.md tells of every metric that there is, and of no other."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.exposition import exposition

from worker_orchestrator.control.reading.gauges import WORDS
from worker_orchestrator.control.telling.observer import AssignOutcome, Call, Delivery
from worker_orchestrator.core.action import Result
from worker_orchestrator.core.failure_kind import FailureKind

PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| (\w+)((?:, `\w+`)*) \|", PAGE, re.MULTILINE)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_each_metric_has_a_row_with_its_type_and_its_labels() -> None:
    told = {(name, kind, frozenset(re.findall(r"\w+", labels))) for name, kind, labels in ROWS}
    shown = set()
    for family in text_string_to_metric_families(exposition()):
        labels = frozenset(key for sample in family.samples for key in sample.labels) - {"le"}
        shown.add((f"{family.name}_total" if family.type == "counter" else family.name, family.type, labels))
    assert told == shown


@pytest.mark.parametrize(
    "word",
    [
        *AssignOutcome,
        *Delivery,
        *WORDS,
        *FailureKind,
        *get_args(Call),
        *(result.replace(" ", "_") for result in Result),
    ],
)
def test_each_value_of_a_label_is_explained(word: str) -> None:
    assert f"`{word}`" in PAGE


def test_questions_ask_for_metrics_that_there_are() -> None:
    known = {name for name, _, _ in ROWS}
    asked = set(re.findall(r"orchestrator_\w+", "\n".join(blocks("promql"))))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} <= known


def test_questions_are_understood_by_prometheus(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.fail("promtool is missing: install Debian's package prometheus.", pytrace=False)
    questions = [{"record": f"question:{number}", "expr": text} for number, text in enumerate(blocks("promql"))]
    file = tmp_path / "questions.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": questions}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
