"""What alerts, runbook and dashboards ask Prometheus for, and what docs/telemetry.md says that there is."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import promql_parser as promql
import yaml

ROOT: Final = Path(__file__).parents[1]

OF_ALL: Final = frozenset({"job", "instance", "namespace"})
"""Labels that no process tells: Prometheus puts them there."""

OF_PROMETHEUS: Final = {"up": OF_ALL, "ALERTS": frozenset({"alertname", "alertstate", "severity", "namespace"})}
"""The labels of what Prometheus tells by itself."""

Asked = tuple[str, str]
"""A place, for whoever reads a failure, and the expression there."""


class Metrics:
    """What an *expression* of PromQL selects; raises ValueError if it is none.

    Attributes:
        selected: The name of each metric, and the labels that it must have: those that are compared with something, and
            those by which it is summed up.
    """

    def __init__(self, expression: str) -> None:
        self.selected: set[tuple[str, frozenset[str]]] = set()
        self._look(promql.parse(expression), frozenset())

    def _look(self, node: promql.Expr, wanted: frozenset[str]) -> None:
        match node:
            case promql.VectorSelector():
                assert node.name, "selects by labels alone"
                self.selected.add((node.name, wanted | {matcher.name for matcher in node.matchers.matchers}))
            case promql.MatrixSelector():
                self._look(node.vector_selector, wanted)
            case promql.AggregateExpr():
                modifier = node.modifier
                by = modifier is not None and modifier.type == promql.AggModifierType.By
                self._look(node.expr, wanted | set(modifier.labels if modifier and by else ()))
            case promql.Call():
                for argument in node.args:
                    self._look(argument, wanted)
            case promql.BinaryExpr():
                self._look(node.lhs, wanted)
                self._look(node.rhs, wanted)
            case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                self._look(node.expr, wanted)
            case _:
                assert isinstance(node, promql.NumberLiteral | promql.StringLiteral), node


def documented() -> dict[str, frozenset[str]]:
    """Return the labels of each metric of the table, histograms by the names of their series, and `OF_PROMETHEUS`."""
    found = dict(OF_PROMETHEUS)
    for line in (ROOT / "docs/telemetry.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != 8 or not cells[1].startswith("`"):
            continue
        # `name`, `name`: `value`, …; `name`
        names = [name for part in cells[4].split(";") for name in re.findall(r"`(\w+)`", part.partition(":")[0])]
        labels = OF_ALL | set(names)
        for name in re.findall(r"`([a-z_]+)`", cells[1]):
            if cells[2] == "histogram":
                found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
            else:
                found[name] = labels
    return found


def expressions_of_alerts() -> Iterator[Asked]:
    """Yield the expressions of all rules, what their descriptions ask for, and what the runbook has one ask for."""
    document = yaml.safe_load((ROOT / "telemetry/alerts.yaml").read_text())
    for rule in (rule for group in document["groups"] for rule in group["rules"]):
        name = rule.get("alert") or rule["record"]
        yield name, rule["expr"]
        for asked in re.findall(r'printf "([^"]+)"', rule.get("annotations", {}).get("description", "")):
            yield name, asked.replace("%q", '"any"')
    runbook = (ROOT / "docs/runbook.md").read_text()
    for block in re.findall(r"```promql\n(.*?)```", runbook, re.DOTALL):
        for line in block.strip().splitlines():
            yield "docs/runbook.md", line.strip()


def expressions_of_dashboards() -> Iterator[Asked]:
    """Yield the expressions of all panels, with something in the place of Grafana's variables."""
    for file in sorted((ROOT / "telemetry/dashboards").glob("*.json")):
        dashboard = json.loads(file.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield f"{file.name}: {panel['title']}", without_variables(target["expr"])


def without_variables(expression: str) -> str:
    """Return *expression* as Grafana sends it when all is chosen."""
    return re.sub(r"\$(namespace|instance)", ".*", expression).replace("$__rate_interval", "1m")
