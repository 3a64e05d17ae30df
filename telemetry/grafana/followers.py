"""Who follows: watchers at the bridges, and subscribers."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from telemetry.grafana.panels import MUST_BE_ONE, Bounds, curves, dashboard, number
from telemetry.grafana.promql import quantile, rate

_TO_DO = "max by (consumer) (beers_subscriber_head{{here}}) - max by (consumer) (beers_subscriber_mark{{here}})"


def board() -> Dashboard:
    """Return the dashboard."""
    return dashboard(
        "beers-followers",
        "beers: watchers and subscribers",
        "Who is told of what happens, and how late. What to do: docs/runbook.md.",
        {
            "Now": [
                number("Watchers", "sum(beers_bridge_watchers{{here}})", "short", Bounds()),
                number(
                    "The last watcher is behind by",
                    "max(beers_bridge_watch_lag_events{{here}})",
                    "short",
                    Bounds(1000, 100000),
                    about="Events. Alert: BeersWatchersBehind.",
                ),
                number(
                    "Events are late by",
                    "max(beers_relay_lag_seconds{{here}})",
                    "s",
                    Bounds(10, 60),
                    about="Age of the oldest event that the bus does not have. Alert: BeersEventsLate.",
                ),
                number(
                    "Subscribers connected",
                    "min(max by (consumer) (beers_subscriber_broker_up{{here}}))",
                    "bool_on_off",
                    MUST_BE_ONE,
                    about="Each by at least one process. Alert: BeersSubscriberCutOff.",
                ),
                number(
                    "The last subscriber is behind by",
                    f"max({_TO_DO})",
                    "short",
                    Bounds(1000, 100000),
                    about="Events. Alert: BeersSubscriberBehind.",
                ),
                number(
                    "Dead letters, 1 h",
                    "sum(increase(beers_subscriber_dead_letters_total{{here}}[1h]))",
                    "short",
                    Bounds(bad=0.5),
                    about="Alert: BeersDeadLetters.",
                ),
            ],
            "Watchers": [
                curves(
                    "Watchers",
                    {
                        "{{instance}}": "beers_bridge_watchers{{here}}",
                        "catching up {{instance}}": "beers_bridge_watchers_catching_up{{here}}",
                        "limit {{instance}}": 'beers_bridge_limit{of="watches", {here}}',
                    },
                    "short",
                    about="Alert: BeersNearLimit.",
                ),
                curves(
                    "Events sent to watchers",
                    {"{{instance}}": rate("beers_bridge_watch_events_total", "instance")},
                    "ops",
                ),
                curves(
                    "Behind the log",
                    {
                        "the last watcher {{instance}}": "beers_bridge_watch_lag_events{{here}}",
                        "the bus {{instance}}": "beers_bridge_feed_lag_events{{here}}",
                    },
                    "short",
                    bounds=Bounds(bad=1000),
                    about="Events. Alert: BeersWatchersBehind.",
                ),
                curves(
                    "Streams that ended, by code",
                    {"{{method}} {{code}}": rate("beers_bridge_stream_duration_seconds_count", "method, code")},
                    "ops",
                    width=24,
                ),
            ],
            "Subscribers": [
                curves("Events still to do", {"{{consumer}}": _TO_DO}, "short", about="Alert: BeersSubscriberBehind."),
                curves(
                    "Events handled",
                    {"{{consumer}} {{outcome}}": rate("beers_subscriber_events_total", "consumer, outcome")},
                    "ops",
                ),
                curves(
                    "A handler, p99",
                    {"{{consumer}}": quantile(0.99, "beers_subscriber_handler_duration_seconds", "consumer")},
                    "s",
                ),
                curves(
                    "Age of an event when it was done, p99",
                    {"{{consumer}}": quantile(0.99, "beers_subscriber_event_age_seconds", "consumer")},
                    "s",
                ),
                curves(
                    "Tried again, and put aside",
                    {
                        "again {{consumer}}": rate("beers_subscriber_retries_total", "consumer"),
                        "aside {{consumer}} {{reason}}": rate(
                            "beers_subscriber_dead_letters_total", "consumer, reason"
                        ),
                    },
                    "ops",
                    about="Alert: BeersDeadLetters.",
                ),
                curves(
                    "Fetched, since the bus did not bring them",
                    {"{{consumer}}": rate("beers_subscriber_fetched_total", "consumer")},
                    "ops",
                ),
            ],
        },
    )
