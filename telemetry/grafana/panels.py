"""The kinds of panels that the dashboards are made of, and what every dashboard has.

Each takes PromQL as `promql` has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from string import ascii_uppercase
from typing import Final

from grafana_foundation_sdk.builders import common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Panel,
    Threshold,
    ThresholdsMode,
    VariableHide,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
HERE: Final = 'namespace=~"$namespace", instance=~"$instance"'
COLUMNS: Final = 24

Queries = Mapping[str, str]
"""PromQL by the legend of what it yields; a legend may name labels, as in ``{{method}}``."""

_GOOD, _ODD, _BAD = "green", "orange", "red"


@dataclass(frozen=True)
class Bounds:
    """From where on a value is worth a look, and from where on it is bad; None where there is no such place."""

    odd: float | None = None
    bad: float | None = None

    def config(self) -> ThresholdsConfig:
        """Return them as Grafana knows them."""
        steps = [Threshold(color=_GOOD)]
        steps += [Threshold(value=value, color=color) for value, color in ((self.odd, _ODD), (self.bad, _BAD)) if value]
        return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


MUST_BE_ONE: Final = (
    ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(color=_BAD), Threshold(value=1, color=_GOOD)])
)
"""For what is 1 while all is well."""


def number(
    title: str,
    expression: str,
    unit: str,
    bounds: "Bounds | ThresholdsConfig",
    *,
    about: str = "",
    width: int = 4,
) -> stat.Panel:
    """Return a panel with one number, coloured by its *bounds*."""
    return (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .with_target(_query(expression, "").instant())
        .unit(unit)
        .thresholds(bounds.config() if isinstance(bounds, Bounds) else bounds)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
        .no_value("\N{EN DASH}")
        .height(4)
        .span(width)
    )


def curves(
    title: str,
    queries: Queries,
    unit: str,
    *,
    about: str = "",
    bounds: Bounds | None = None,
    stacked: bool = False,
    width: int = 8,
) -> timeseries.Panel:
    """Return a panel with curves over time, and its *bounds* as lines."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(30 if stacked else 5)
        .show_points(VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .height(9)
        .span(width)
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if bounds is not None:
        panel.thresholds(bounds.config())
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
    for letter, (legend, expression) in zip(ascii_uppercase, queries.items(), strict=False):
        panel.with_target(_query(expression, legend).ref_id(letter))
    return panel


def rows(title: str, expression: str, *, about: str, width: int = COLUMNS) -> table.Panel:
    """Return a panel with a table: a row for each series that there is now, a column for each of its labels."""
    return (
        table.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .with_target(_query(expression, "").instant().format(PromQueryFormat.TABLE))
        .show_header(True)
        .no_value("none")
        .height(5)
        .span(width)
    )


def dashboard(uid: str, title: str, about: str, parts: Mapping[str, Sequence[Builder[Panel]]]) -> Dashboard:
    """Return a dashboard: rows by their titles, each with its panels; every dashboard has the same variables."""
    made = (
        Dashboard(title)
        .uid(uid)
        .description(about)
        .tags(["beers"])
        .readonly()
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            DashboardLink("beers")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["beers"])
            .as_dropdown(False)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(
            DatasourceVariable("datasource").label("Prometheus").type("prometheus").hide(VariableHide.DONT_HIDE)
        )
        .with_variable(_choice("namespace", "label_values(beers_build_info, namespace)"))
        .with_variable(_choice("instance", 'label_values(beers_build_info{namespace=~"$namespace"}, instance)'))
    )
    ids = count(1)
    for name, panels in parts.items():
        made.with_row(Row(name).id(next(ids)))
        for panel in panels:
            panel.build().id_val = next(ids)
            made.with_panel(panel)
    return made


def _choice(name: str, values: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(values)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        # Targets may be without the label.
        .all_value(".*")
    )


def _query(expression: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression.replace("{here}", HERE)).legend_format(legend).ref_id("A")
