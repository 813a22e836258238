"""Alert rules, their runbook and the dashboard: all about metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import yaml

from processor.metrics import METRICS_BY_PART
from tests import promtool
from tests.paths import ROOT

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
[GROUP] = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
ALERTS = {rule["alert"]: rule for rule in GROUP["rules"]}
RUNBOOK = dict(
    re.findall(
        r"^## (\w+)\n(.*?)(?=^## |\Z)",
        (DEPLOY / "RUNBOOK.md").read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)


def series_there_are():
    """Return the names of all series: of a histogram three, of a counter one with `_total`."""
    names = set()
    for metrics in METRICS_BY_PART.values():
        for metric in metrics:
            [family] = metric.describe()
            endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
            names |= {family.name + end for end in endings.get(family.type, ("",))}
    return names


def series_in(expression):
    return set(re.findall(r"\bsendlog_\w+", expression))


def test_each_alert_has_an_entry_in_the_runbook_and_each_entry_an_alert():
    assert list(RUNBOOK) == list(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_severity_a_summary_and_says_where_to_read_on(name):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook"] == f"deploy/RUNBOOK.md#{name.lower()}"
    assert re.findall(r"^\*\*(\w+)\.\*\* \S", RUNBOOK[name], re.MULTILINE) == [
        "Means",
        "Look",
        "Do",
    ]


def test_every_series_of_an_alert_exists():
    for name, rule in ALERTS.items():
        series = series_in(rule["expr"])
        assert series, name
        assert series <= series_there_are(), name


def test_every_series_of_the_dashboard_exists():
    board = json.loads((DEPLOY / "grafana/operators.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(expressions) > 20
    for expression in expressions:
        assert series_in(expression), expression
        assert series_in(expression) <= series_there_are(), expression


def test_a_series_makes_each_alert_fire_and_none_fires_when_all_is_well():
    tool = promtool.find()
    assert tool, "make setup-promtool"
    done = subprocess.run(
        [tool, "test", "rules", "rules.test.yaml"], cwd=RULES.parent, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    tests = yaml.safe_load(RULES.with_name("rules.test.yaml").read_text("utf-8"))["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert fired == set(ALERTS)
    [healthy] = [test for test in tests if test["name"] == "all is well"]
    assert {case["alertname"] for case in healthy["alert_rule_test"]} == set(ALERTS)


def test_the_expressions_of_the_dashboard_can_be_parsed(tmp_path):
    board = json.loads((DEPLOY / "grafana/operators.json").read_text("utf-8"))
    rules = [
        {"record": f"panel:{panel['id']}:{target['refId']}",
         "expr": target["expr"].replace("$__rate_interval", "5m")}
        for panel in board["panels"] for target in panel["targets"]
    ]  # fmt: skip
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [promtool.find(), "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
