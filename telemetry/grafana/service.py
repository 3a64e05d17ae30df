"""What service and relay do: a message's way from the bridge to the store, and the events' way to the bus."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from telemetry.grafana.panels import MUST_BE_ONE, Bounds, curves, dashboard, number
from telemetry.grafana.promql import mean, quantile, quantiles, rate

_OURS = 'job=~"(.+/)?beers.*"'


def board() -> Dashboard:
    """Return the dashboard."""
    return dashboard(
        "beers-service",
        "beers: service and relay",
        "From the bridge to the store, and from the store to the bus. What to do: docs/runbook.md.",
        {
            "Now": [
                number(
                    "Store", "min(beers_store_up{{here}})", "bool_on_off", MUST_BE_ONE, about="Alert: BeersStoreDown."
                ),
                number(
                    "RabbitMQ", "min(beers_broker_up{{here}})", "bool_on_off", MUST_BE_ONE, about="Of every process."
                ),
                number(
                    "Relays that lead",
                    "sum(beers_relay_leader{{here}})",
                    "short",
                    MUST_BE_ONE,
                    about="One of all. Alert: BeersNoRelayLeader.",
                ),
                number(
                    "Events not told yet",
                    "max(beers_relay_lag_events{{here}})",
                    "short",
                    Bounds(1000, 10000),
                    about="Alert: BeersEventsLate.",
                ),
                number(
                    "Transactions failed, 15 min",
                    "sum(increase(beers_service_commits_failed_total{{here}}[15m]))",
                    "short",
                    Bounds(1, 3),
                    about="Alert: BeersCommitsFail.",
                ),
                number(
                    "Position", "max(beers_log_head_position{{here}})", "short", Bounds(), about="Of the last event."
                ),
            ],
            "Between bridge and service": [
                curves(
                    "Calls in one message",
                    {
                        "sent by bridges": mean("beers_bridge_batch_calls"),
                        "received by services": mean("beers_service_message_calls"),
                    },
                    "short",
                    about="1 at rest; more when there is more to do.",
                ),
                curves("A message's round trip", quantiles("beers_bridge_batch_duration_seconds"), "s"),
                curves(
                    "Wait in the queue",
                    quantiles("beers_service_queue_wait_seconds"),
                    "s",
                    bounds=Bounds(bad=1),
                    about="Alert: BeersQueueWait.",
                ),
                curves(
                    "On their way, and waiting",
                    {
                        "messages on their way {{instance}}": "beers_bridge_batches_in_flight{{here}}",
                        "calls waiting {{instance}}": "beers_bridge_calls_waiting{{here}}",
                        "messages worked on {{instance}}": "beers_service_messages_in_progress{{here}}",
                        "commands waiting {{instance}}": "beers_service_commands_waiting{{here}}",
                    },
                    "short",
                    about="Alert: BeersNearLimit.",
                ),
                curves(
                    "Rejected, expired, unanswered",
                    {
                        "{{reason}}": rate("beers_service_messages_rejected_total", "reason"),
                        "expired": rate("beers_service_calls_expired_total"),
                        "answers lost": rate("beers_service_answers_lost_total"),
                    },
                    "ops",
                    about="Alert: BeersDeadLetters (unreadable, unanswerable).",
                ),
                curves("Reconnections", {"{{connection}}": rate("beers_broker_reconnects_total", "connection")}, "ops"),
            ],
            "Calls and commits": [
                curves(
                    "Calls by method and outcome",
                    {"{{method}} {{outcome}}": rate("beers_service_call_duration_seconds_count", "method, outcome")},
                    "reqps",
                    stacked=True,
                ),
                curves(
                    "p99 by method",
                    {"{{method}}": quantile(0.99, "beers_service_call_duration_seconds", "method")},
                    "s",
                ),
                curves("A transaction", quantiles("beers_service_commit_duration_seconds"), "s"),
                curves("Commands in a transaction", {"mean": mean("beers_service_commit_commands")}, "short"),
                curves(
                    "Events committed",
                    {"{{type}}": rate("beers_service_events_appended_total", "type")},
                    "ops",
                    stacked=True,
                ),
                curves(
                    "Transactions that failed",
                    {"{{reason}}": rate("beers_service_commits_failed_total", "reason")},
                    "ops",
                    about="Alert: BeersCommitsFail.",
                ),
            ],
            "Relay": [
                curves(
                    "Events told, events committed",
                    {
                        "told": rate("beers_relay_events_published_total"),
                        "committed": rate("beers_service_events_appended_total"),
                    },
                    "ops",
                    width=6,
                ),
                curves(
                    "Events not told yet",
                    {"{{instance}}": "beers_relay_lag_events{{here}}"},
                    "short",
                    about="Alert: BeersEventsLate.",
                    width=6,
                ),
                curves("A window", quantiles("beers_relay_publish_duration_seconds"), "s", width=6),
                curves(
                    "Windows told again", {"{{reason}}": rate("beers_relay_failures_total", "reason")}, "ops", width=6
                ),
            ],
            "Processes": [
                curves(
                    "Processor",
                    {"{{job}} {{instance}}": rate("process_cpu_seconds_total", "job, instance", _OURS)},
                    "percentunit",
                    about="1 is a core, which is what a process can use.",
                ),
                curves(
                    "Memory",
                    {"{{job}} {{instance}}": f"process_resident_memory_bytes{{{_OURS}, {{here}}}}"},
                    "bytes",
                ),
                curves(
                    "Open files",
                    {"{{job}} {{instance}}": f"process_open_fds{{{_OURS}, {{here}}}} / process_max_fds{{{{here}}}}"},
                    "percentunit",
                    bounds=Bounds(bad=0.8),
                    about="Share of what is permitted. Alert: BeersNearLimit.",
                ),
            ],
        },
    )
