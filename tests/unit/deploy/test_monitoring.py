"""The alerts and the dashboard ask for what the service shows, and each alert fires when it has to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from tests.unit.deploy.manifests import DEPLOY
from tests.unit.deploy.promql import Asked, asked
from tests.unit.exposition import values_of_labels

RULES: Final = DEPLOY / "prometheus" / "rules.yaml"
CASES: Final = DEPLOY / "prometheus" / "rules_test.yaml"
DASHBOARD: Final[dict[str, Any]] = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text("utf-8"))
ALERTS: Final[dict[str, dict[str, Any]]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]
}
PANELS: Final = {each["title"]: each for each in DASHBOARD["panels"] if each["type"] != "row"}
OF_PROMETHEUS: Final = {"job", "instance"}
"""Labels that Prometheus adds to whatever it scrapes."""
FREE: Final = OF_PROMETHEUS | {"pool", "version", "python"}
"""Labels whose values are not ours."""
each_alert = pytest.mark.parametrize("alert", ALERTS.values(), ids=list(ALERTS))
each_panel = pytest.mark.parametrize("panel", PANELS.values(), ids=list(PANELS))


def unknown(question: Asked) -> list[str]:
    """What this selector names that is not there."""
    series = {**values_of_labels(), "up": {}}
    if question.metric not in series:
        return [question.metric]
    labels, wrong = series[question.metric], list[str]()
    wrong += [f"{question.metric} by {each}" for each in question.grouped - labels.keys() - OF_PROMETHEUS]
    for label, operator, value in question.matchers:
        if label not in labels.keys() | OF_PROMETHEUS:
            wrong.append(f"{question.metric}{{{label}}}")
        elif label not in FREE:
            words = value.split("|") if "~" in operator else [value]
            wrong += [f"{question.metric}{{{label}={each}}}" for each in words if each not in labels[label]]
    return wrong


def unknown_in(expression: str) -> list[str]:
    questions = asked(expression)
    assert questions, f"{expression} asks for nothing"
    return [each for question in questions for each in unknown(question)]


def drawn(expression: str) -> str:
    """As Grafana sends it to Prometheus."""
    for variable in DASHBOARD["templating"]["list"]:
        expression = expression.replace(f"${variable['name']}", ".*")
    expression = expression.replace("$__rate_interval", "1m")
    assert "$" not in expression
    return expression


def promtool(*arguments: str) -> None:
    if shutil.which("promtool") is None:
        pytest.fail("promtool is missing: install Debian's package prometheus.", pytrace=False)
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("orchestrator_engine_up == 0", []),
        ("orchestrator_engine_down == 0", ["orchestrator_engine_down"]),
        ("rate(orchestrator_assigns[5m]) > 0.5", ["orchestrator_assigns"]),
        ('orchestrator_machines{status="idle"}', ["orchestrator_machines{status}"]),
        ('orchestrator_machines{pool="mine", state=~"idle|ready"}', ["orchestrator_machines{state=ready}"]),
        ("sum by (job, call) (orchestrator_waiters)", ["orchestrator_waiters by call"]),
        ("sum by (le) (rate(orchestrator_create_duration_seconds_bucket[5m]))", []),
        ("up == 0 and on (pool) orchestrator_waiters", ["up by pool"]),
        ("sum by (pool) (orchestrator_waiters) unless on (job) up", []),
        ("absent(orchestrator_build_info) unless on () nothing", ["nothing"]),
    ],
)
def test_what_is_not_there_is_found(expression: str, wrong: list[str]) -> None:
    assert unknown_in(expression) == wrong


@pytest.mark.parametrize(
    "expression",
    [
        "quantile_by_luck(orchestrator_waiters)",
        '{job="a"}',
        "rate",
        "up{job}",
        "up @ 5",
        "sum by (job) (up",
        "(up) with up",
    ],
)
def test_what_is_not_understood_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        asked(expression)


@each_alert
def test_an_alert_asks_for_what_there_is(alert: dict[str, Any]) -> None:
    assert unknown_in(alert["expr"]) == []


@each_alert
def test_an_alert_says_what_happened_what_to_do_and_where_to_read(alert: dict[str, Any]) -> None:
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    told = alert["annotations"]
    assert told.keys() == {"summary", "description", "runbook"}
    assert all(told[each].endswith(".") for each in ("summary", "description"))
    page, anchor = told["runbook"].split("#")
    assert f"### {alert['alert']}\n" in (DEPLOY.parent / page).read_text("utf-8")
    assert anchor == alert["alert"].lower()


@each_alert
def test_an_alert_names_labels_that_its_result_has(alert: dict[str, Any]) -> None:
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
    assert named <= kept(alert["expr"])


def test_the_page_tells_of_each_alert_and_of_no_other() -> None:
    page = (DEPLOY.parent / "docs" / "monitoring.md").read_text("utf-8")
    assert re.findall(r"^### (Orchestrator\w+)$", page, re.MULTILINE) == list(ALERTS)
    told = re.findall(r"^### (Orchestrator\w+)\n\n\*(\w+)[.,*]", page, re.MULTILINE)
    assert dict(told) == {name: alert["labels"]["severity"] for name, alert in ALERTS.items()}


def kept(expression: str) -> set[str]:
    """The labels of its result: those of the first `by`, else those of its first metric."""
    first, *_ = asked(expression)
    by = re.search(r"by \(([^)]*)\)", expression)
    if by and by.start() < expression.index(first.metric):
        return set(re.findall(r"\w+", by[1]))
    return set(values_of_labels().get(first.metric, {})) | OF_PROMETHEUS


def test_prometheus_understands_the_alerts() -> None:
    promtool("check", "rules", str(RULES))


def test_each_alert_fires_and_is_silent() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text("utf-8"))["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == ALERTS.keys()
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == ALERTS.keys()
    promtool("test", "rules", str(CASES))


def test_what_alerts_are_tried_with_is_what_there_is() -> None:
    tests = yaml.safe_load(CASES.read_text("utf-8"))["tests"]
    series = {each["series"] for test in tests for each in test["input_series"]}
    assert [wrong for each in series for wrong in unknown_in(each) if 'le="' not in each] == []


@each_panel
def test_a_panel_asks_for_what_there_is(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    for target in panel["targets"]:
        assert unknown_in(drawn(target["expr"])) == []
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept(target["expr"])


def test_variables_and_marks_ask_for_what_there_is() -> None:
    queries = [each["query"]["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    for query in queries:
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert match, query
        assert unknown_in(drawn(match[1])) == []
        assert match[2] in kept(match[1])
    for mark in (each for each in DASHBOARD["annotations"]["list"] if "expr" in each):
        assert unknown_in(drawn(mark["expr"])) == []


def test_prometheus_understands_the_panels(tmp_path: Path) -> None:
    questions = [drawn(target["expr"]) for panel in PANELS.values() for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(questions)]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_what_is_shown_is_drawn() -> None:
    """A new metric wants a panel, or a reason why not."""
    drawn_names = {
        each.metric for panel in PANELS.values() for target in panel["targets"] for each in asked(drawn(target["expr"]))
    }
    drawn_names = {re.sub(r"_(bucket|sum|count)$", "", each) for each in drawn_names}
    known = {re.sub(r"_(bucket|sum|count)$", "", each) for each in values_of_labels()}
    assert known - drawn_names == {
        "orchestrator_build_info",  # chooses jobs and instances
        "orchestrator_min_idle",  # is in wanted_idle
        "orchestrator_key_machines",  # is there with keys alone, and each has a limit that no metric tells
        "orchestrator_egress_refused_total",  # a project's workers ask for what they like: its `why` tells
        "orchestrator_wanted_parked",
        "orchestrator_warm_hit_ratio",  # drawn of each pool, from the counters
        "orchestrator_probes_total",
        "process_start_time_seconds",  # a mark
        "process_virtual_memory_bytes",
    }


def test_panels_do_not_cover_one_another_and_have_their_own_ids() -> None:
    assert len({each["id"] for each in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [cell for each in DASHBOARD["panels"] for cell in cells_of(each["gridPos"])]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24, "Grafana has 24 columns"


def cells_of(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    return ((place["x"] + right, place["y"] + below) for right in range(place["w"]) for below in range(place["h"]))
