"""The alerts: that a person finds what to do, that each is tried, and that they name what there is."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.promql import Metrics, documented, expressions_of_alerts, expressions_of_dashboards

ROOT = Path(__file__).parents[2]
TELEMETRY = ROOT / "telemetry"


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((TELEMETRY / "alerts.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def tried() -> tuple[set[str], set[str]]:
    """Return which alerts are seen to fire in the tests of promtool, and which to keep quiet."""
    fire: set[str] = set()
    quiet: set[str] = set()
    for file in TELEMETRY.glob("*_test.yaml"):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test.get("alert_rule_test", ()):
                (fire if case["exp_alerts"] else quiet).add(case["alertname"])
            for case in test.get("promql_expr_test", ()):
                samples = " ".join(sample["labels"] for sample in case["exp_samples"])
                fire |= {name for name in ALERTS if f'alertname="{name}"' in samples and "firing" in samples}
                selector = re.search(r'alertname=~?"([^"]+)"', case["expr"])
                if selector and case["expr"].startswith("ALERTS"):
                    asked = {name for name in ALERTS if re.fullmatch(selector[1], name)}
                    quiet |= {name for name in asked if f'alertname="{name}"' not in samples}
    return fire, quiet


def test_every_alert_has_an_entry_in_the_runbook_and_every_entry_an_alert() -> None:
    entries = re.findall(r"^## (\w+)\n\n\*\*(\w+)\.\*\*", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert dict(entries) == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}
    assert len(entries) == len(ALERTS)


def test_every_alert_says_whom_it_calls_and_where_to_read_on() -> None:
    assert ALERTS
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"


def test_every_alert_is_tried_when_it_should_fire_and_when_it_should_not() -> None:
    fire, quiet = tried()
    assert fire == ALERTS.keys()
    # Of the rest, a test has series that should fire and others that should not, side by side.
    beside = {"BeersCommitsFail", "BeersSubscriberBehind", "BeersSubscriberCutOff", "BeersNearLimit", "BeersRestarts"}
    assert quiet >= ALERTS.keys() - beside


@pytest.mark.parametrize("expressions", [expressions_of_alerts, expressions_of_dashboards])
def test_alerts_and_dashboards_name_only_metrics_that_are_documented_with_labels_that_they_have(
    expressions: Any,
) -> None:
    table = documented()
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    found = list(expressions())
    assert found
    for where, expression in found:
        for name, labels in Metrics(expression).selected:
            if name not in recorded:
                assert name in table, (where, name)
                assert labels <= table[name], (where, name, labels - table[name])
