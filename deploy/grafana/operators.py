"""The dashboard for operators as code; as a program it writes `operators.json` beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

FILE: Final = Path(__file__).with_suffix(".json")
PANEL_WIDTH, PANEL_HEIGHT, ROW_WIDTH = 8, 7, 24


class Panel(NamedTuple):
    """A graph: its title, unit, and expressions, each with its legend."""

    title: str
    unit: str
    targets: dict[str, str]


def quantile(metric: str, share: float, labels: str = "") -> str:
    """Return the expression of a histogram's quantile."""
    by = f"le, {labels}" if labels else "le"
    return f"histogram_quantile({share}, sum by ({by}) (rate({metric}_bucket[$__rate_interval])))"


def rate(metric: str, labels: str, where: str = "") -> str:
    """Return the expression of what a counter grows by in a second."""
    return f"sum by ({labels}) (rate({metric}{where}[$__rate_interval]))"


PANELS: Final = (
    Panel("Seconds behind", "s", {"max by (topic) (sendlog_seconds_behind) > 1": "{{topic}}"}),
    Panel("Records behind", "short", {"sum by (topic) (sendlog_lag_records) > 0": "{{topic}}"}),
    Panel("Oldest chunk without an ack", "s", {
        "max by (instance) (sendlog_oldest_unacked_seconds)": "{{instance}}",
    }),
    Panel("Records decoded", "cps", {rate("sendlog_records_total", "topic"): "{{topic}}"}),
    Panel("Events written", "cps", {"sum(rate(sendlog_events_total[$__rate_interval]))": "events"}),
    Panel("Since the last write", "s", {
        "time() - max by (instance) (sendlog_last_write_timestamp_seconds > 0)": "{{instance}}",
    }),
    Panel("Time of a write", "s", {
        quantile("sendlog_write_seconds", 0.5): "half",
        quantile("sendlog_write_seconds", 0.95): "95 %",
    }),
    Panel("Events in a write", "short", {
        quantile("sendlog_write_rows", 0.5): "half", quantile("sendlog_write_rows", 0.95): "95 %",
    }),
    Panel("Writes tried again", "cps", {rate("sendlog_write_retries_total", "table"): "{{table}}"}),
    Panel("Outages", "bool", {
        "max(sendlog_waiting_for_clickhouse)": "writes wait for ClickHouse",
        "max(sendlog_waiting_for_kafka)": "a topic takes nothing",
        "max by (job) (sendlog_kafka_away)": "no broker: {{job}}",
        "max by (topic) (sendlog_paused_topics)": "read slowly: {{topic}}",
    }),
    Panel("Partitions held", "short", {"sum by (instance) (sendlog_partitions)": "{{instance}}"}),
    Panel("Rebalances", "short", {
        "sum by (instance) (increase(sendlog_rebalances_total[$__rate_interval]))": "{{instance}}",
    }),
    Panel("Dead letters", "short", {
        "sum by (topic) (increase(sendlog_dead_letters_total[1h]))": "{{topic}}",
    }),
    Panel("Unmatched events", "short", {
        "sum by (provider) (increase(sendlog_unmatched_events_total[1h]))": "{{provider}}",
    }),
    Panel("Decisions", "cps", {rate("sendlog_decisions_total", "decision"): "{{decision}}"}),
    Panel("Decisions late", "s", {
        "max by (instance) (sendlog_policy_overdue_seconds)": "{{instance}}",
    }),
    Panel("Addresses remembered", "short", {
        "sum(sendlog_addresses_with_trouble)": "all", "sum(sendlog_addresses_waiting)": "waiting",
    }),
    Panel("Webhooks", "cps", {
        rate("sendlog_hooks_accepted_total", "provider"): "{{provider}}",
        rate("sendlog_hooks_refused_total", "provider, reason"): "{{provider}} refused: {{reason}}",
    }),
    Panel("Requests", "reqps", {
        rate("sendlog_request_seconds_count", "job, status"): "{{job}} {{status}}",
    }),
    Panel("Time of a request, 95 %", "s", {
        quantile("sendlog_request_seconds", 0.95, "job, route"): "{{job}} {{route}}",
    }),
    Panel("Versions", "short", {
        "count by (part, version) (sendlog_build_info)": "{{part}} {{version}}",
    }),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it; it asks for the data source."""
    source = {"type": "prometheus", "uid": "${source}"}
    across = ROW_WIDTH // PANEL_WIDTH
    return {
        "uid": "sendlog-operators",
        "title": "Sendlog: operators",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [
            {
                "id": number + 1,
                "type": "timeseries",
                "title": panel.title,
                "datasource": source,
                "gridPos": {
                    "x": number % across * PANEL_WIDTH, "y": number // across * PANEL_HEIGHT,
                    "w": PANEL_WIDTH, "h": PANEL_HEIGHT,
                },
                "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": legend}
                    for place, (expression, legend) in enumerate(panel.targets.items())
                ],
            }
            for number, panel in enumerate(PANELS)
        ],
    }  # fmt: skip


def dashboard_json() -> str:
    """Return the file's text."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(dashboard_json(), "utf-8")
