"""What those notice who call: rate, errors, latency, and whether it works at all."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from telemetry.grafana.panels import MUST_BE_ONE, Bounds, curves, dashboard, number, rows
from telemetry.grafana.promql import quantile, quantiles, rate

_CALLS = "beers_bridge_call_duration_seconds"
_FAILED = 'beers:calls_failed:ratio_rate5m{namespace=~"$namespace"}'
_INTERCEPTED = rate("haproxy_frontend_intercepted_requests_total", where='proxy="grpc"')
_OF_ALL = "Of all bridges of an installation, by the rule that the alerts go by."


def board() -> Dashboard:
    """Return the dashboard."""
    return dashboard(
        "beers-users",
        "beers: what users notice",
        "Rate, errors and latency of the gRPC calls, and what is the matter. What to do: docs/runbook.md.",
        {
            "Now": [
                number(
                    "Bridges that serve",
                    "sum(beers_bridge_serving{{here}}) / count(beers_bridge_serving{{here}})",
                    "percentunit",
                    MUST_BE_ONE,
                    about="Alerts: BeersNotServing, BeersBreakerOpen.",
                ),
                number(
                    "Store", "min(beers_store_up{{here}})", "bool_on_off", MUST_BE_ONE, about="Alert: BeersStoreDown."
                ),
                number("Calls", rate(f"{_CALLS}_count"), "reqps", Bounds()),
                number(
                    "Calls that fail",
                    f"max({_FAILED})",
                    "percentunit",
                    Bounds(0.001, 0.0144),
                    about="Of 1,000 calls one may fail. Alerts: BeersManyCallsFailing, BeersSomeCallsFailing.",
                ),
                number(
                    "99 of 100 calls within",
                    quantile(0.99, _CALLS),
                    "s",
                    Bounds(0.1, 0.25),
                    about="It should be 250 ms. Alerts: BeersManyCallsSlow, BeersSomeCallsSlow.",
                ),
                number(
                    "Events are late by",
                    "max(beers_relay_lag_seconds{{here}})",
                    "s",
                    Bounds(10, 60),
                    about="Age of the oldest event that the bus does not have. Alert: BeersEventsLate.",
                ),
                rows(
                    "Alerts",
                    'ALERTS{alertname=~"Beers.*", alertstate="firing", namespace=~"$namespace"}',
                    about="Those that fire. docs/runbook.md has an entry for each.",
                ),
            ],
            "Calls": [
                curves(
                    "Calls by method",
                    {"{{method}}": rate(f"{_CALLS}_count", "method")},
                    "reqps",
                    stacked=True,
                ),
                curves(
                    "Calls that were not OK, by code",
                    {
                        "{{code}}": rate(f"{_CALLS}_count", "code", 'code!="OK"'),
                        "refused unread": rate("beers_bridge_calls_refused_total", where='reason="unread"'),
                        "refused by HAProxy": _INTERCEPTED,
                    },
                    "reqps",
                    about="NOT_FOUND, INVALID_ARGUMENT and the like are the caller's. "
                    "Alerts: BeersManyCallsFailing, BeersSomeCallsFailing.",
                ),
                curves(
                    "Share of calls that fail",
                    {"{{namespace}}": _FAILED},
                    "percentunit",
                    bounds=Bounds(0.001, 0.0144),
                    about=f"{_OF_ALL} Alerts: BeersManyCallsFailing, BeersSomeCallsFailing.",
                ),
            ],
            "Latency": [
                curves(
                    "Latency",
                    quantiles(_CALLS),
                    "s",
                    bounds=Bounds(bad=0.25),
                    about="Alerts: BeersManyCallsSlow, BeersSomeCallsSlow.",
                ),
                curves("p50 by method", {"{{method}}": quantile(0.5, _CALLS, "method")}, "s"),
                curves("p99 by method", {"{{method}}": quantile(0.99, _CALLS, "method")}, "s", bounds=Bounds(bad=0.25)),
            ],
            "Promises": [
                curves(
                    "Calls that failed, over an hour and a day",
                    {
                        "1 h": 'beers:calls_failed:ratio_rate1h{namespace=~"$namespace"}',
                        "1 d": 'beers:calls_failed:ratio_rate1d{namespace=~"$namespace"}',
                    },
                    "percentunit",
                    bounds=Bounds(0.001, 0.0144),
                    about="99.9 % of the calls of 30 days should not fail.",
                    width=12,
                ),
                curves(
                    "Calls that were slow, over an hour and a day",
                    {
                        "1 h": 'beers:calls_slow:ratio_rate1h{namespace=~"$namespace"}',
                        "1 d": 'beers:calls_slow:ratio_rate1d{namespace=~"$namespace"}',
                    },
                    "percentunit",
                    bounds=Bounds(0.01, 0.144),
                    about="99 % of the calls of 30 days should be answered within 250 ms.",
                    width=12,
                ),
            ],
            "Bridges": [
                curves(
                    "Calls in progress",
                    {
                        "{{instance}}": "beers_bridge_calls_in_progress{{here}}",
                        "limit {{instance}}": 'beers_bridge_limit{of="calls", {here}}',
                    },
                    "short",
                    about="Alert: BeersNearLimit.",
                ),
                curves(
                    "Calls refused, by reason",
                    {
                        "{{reason}}": rate("beers_bridge_calls_refused_total", "reason"),
                        "by HAProxy": _INTERCEPTED,
                    },
                    "reqps",
                    stacked=True,
                ),
                curves(
                    "What is missing",
                    {"{{instance}} {{part}}": "beers_bridge_missing{{here}} == 1"},
                    "short",
                    about="Nothing while all is well. Alerts: BeersNotServing, BeersBreakerOpen.",
                ),
            ],
        },
    )
