"""Grafana's dashboards, from code: `make dashboards` writes them to `telemetry/dashboards`.

`panels` says what a panel is, and the same for all of them; each other module is a dashboard.
"""
