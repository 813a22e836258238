"""All metrics: name, type, labels and meaning, and which part has them.

A label's values are few and known: topics, tables, providers that have an adapter, routes, and a
number of tenants. No address or path is one. `deploy/METRICS.md` has them as a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final, Literal, TypeAlias

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

#: Tenants that have a label of their own, the first that are counted; a feed may name any.
MAX_TENANT_LABELS: Final = 1_000
#: Stands for all other values of a label.
OTHER_LABEL: Final = "other"
_labelled_tenants: Final[set[str]] = set()
#: What runs for long, and serves metrics.
Part: TypeAlias = Literal["worker", "gateway", "api"]

BUILD_INFO: Final = Gauge("sendlog_build_info", "1, of this version", ["version", "part"])

RECORDS_TOTAL: Final = Counter("sendlog_records_total", "Kafka records decoded", ["topic"])
IGNORED_RECORDS_TOTAL: Final = Counter(
    "sendlog_ignored_records_total", "records of a feed that are about no message", ["provider"]
)
UNMATCHED_EVENTS_TOTAL: Final = Counter(
    "sendlog_unmatched_events_total",
    "events of a feed that name no message, or an id of the provider that no edge explained yet",
    ["provider", "tenant"],
)
JOINED_EVENTS_TOTAL: Final = Counter(
    "sendlog_joined_events_total",
    "unmatched events joined to their message by an edge that came later",
    ["provider", "tenant"],
)
EVENTS_TOTAL: Final = Counter("sendlog_events_total", "events written to ClickHouse")
REFUSED_RAW_RECORDS_TOTAL: Final = Counter(
    "sendlog_refused_raw_records_total", "raw records that ClickHouse refused; their events go on"
)
DEAD_LETTERS_TOTAL: Final = Counter("sendlog_dead_letters_total", "dead letters", ["topic"])
WRITE_SECONDS: Final = Histogram("sendlog_write_seconds", "time of one write of events")
WRITE_RETRIES_TOTAL: Final = Counter(
    "sendlog_write_retries_total", "writes to ClickHouse that failed and are tried again", ["table"]
)
LAST_WRITE: Final = Gauge(
    "sendlog_last_write_timestamp_seconds", "when events were last written, since 1970; 0: not yet"
)
WRITE_ROWS: Final = Histogram(
    "sendlog_write_rows", "events in one write", buckets=[1, 10, 100, 1e3, 1e4, 3e4, 1e5]
)
DECISIONS_TOTAL: Final = Counter(
    "sendlog_decisions_total", "decisions on retries and the blacklist", ["decision"]
)
COMMANDS_REFUSED_TOTAL: Final = Counter(
    "sendlog_commands_refused_total", "commands whose signature does not hold", ["reason"]
)
ADDRESS_STATES: Final = Gauge(
    "sendlog_addresses_with_trouble", "addresses that something is remembered of"
)
WAKING_ADDRESSES: Final = Gauge(
    "sendlog_addresses_waiting",
    "addresses that wait for a time: a retry falls due, an entry of the blacklist expires",
)
OVERDUE_SECONDS: Final = Gauge(
    "sendlog_policy_overdue_seconds", "how long the address that is due first has been due"
)
POLICY_PARTITIONS: Final = Gauge(
    "sendlog_policy_partitions",
    "partitions of the policy by state: their addresses are known, or still being read",
    ["state"],
)
LAG_RECORDS: Final = Gauge(
    "sendlog_lag_records", "records of the partitions held that are not done", ["topic"]
)
SECONDS_BEHIND: Final = Gauge(
    "sendlog_seconds_behind", "age of the oldest record that is not done; 0 without lag", ["topic"]
)
OLDEST_UNACKED_SECONDS: Final = Gauge(
    "sendlog_oldest_unacked_seconds", "since the oldest chunk was read that is not acked", ["topic"]
)
PARTITIONS: Final = Gauge("sendlog_partitions", "partitions held of a topic", ["topic"])
REBALANCES_TOTAL: Final = Counter(
    "sendlog_rebalances_total", "times that the group shared out partitions anew"
)
KAFKA_AWAY: Final = Gauge("sendlog_kafka_away", "1 while no broker takes a connection")
WAITING_FOR_CLICKHOUSE: Final = Gauge(
    "sendlog_waiting_for_clickhouse", "1 while the database is away"
)
WAITING_FOR_KAFKA: Final = Gauge(
    "sendlog_waiting_for_kafka", "1 while records wait to be published for longer than usual"
)
PAUSED_TOPICS: Final = Gauge(
    "sendlog_paused_topics", "1 while a topic of nothing but bad records is read slowly", ["topic"]
)
OFFSET_RESETS_TOTAL: Final = Counter(
    "sendlog_offset_resets_total", "times that a broker did not have the next record", ["topic"]
)
LOST_RECORDS_TOTAL: Final = Counter(
    "sendlog_lost_records_total", "records that a broker deleted before they were read", ["topic"]
)
HOOKS_ACCEPTED_TOTAL: Final = Counter(
    "sendlog_hooks_accepted_total", "webhooks that Kafka has", ["provider"]
)
HOOK_HANDSHAKES_TOTAL: Final = Counter(
    "sendlog_hooks_handshakes_total",
    "tests and subscriptions, with nothing for Kafka",
    ["provider"],
)
HOOKS_REFUSED_TOTAL: Final = Counter(
    "sendlog_hooks_refused_total", "webhooks not taken", ["provider", "reason"]
)
REQUEST_SECONDS: Final = Histogram(
    "sendlog_request_seconds",
    "time of one request, by route and class of status",
    ["route", "status"],
    buckets=[0.005, 0.025, 0.1, 0.25, 1, 2.5, 10, 30],
)
AUDIT_LINES_TOTAL: Final = Counter(
    "sendlog_audit_lines_total",
    "lines of the audit log: written, or lost because ClickHouse did not take them",
    ["outcome"],
)
AUDIT_LINES_WAITING: Final = Gauge(
    "sendlog_audit_lines_waiting", "lines of the audit log that ClickHouse has not taken yet"
)

#: What each part has, beside what every process has: CPU, memory, garbage collection.
METRICS_BY_PART: Final[Mapping[Part, tuple[Any, ...]]] = {
    "worker": (
        BUILD_INFO, RECORDS_TOTAL, IGNORED_RECORDS_TOTAL, UNMATCHED_EVENTS_TOTAL,
        JOINED_EVENTS_TOTAL, EVENTS_TOTAL, REFUSED_RAW_RECORDS_TOTAL, DEAD_LETTERS_TOTAL,
        WRITE_SECONDS, WRITE_ROWS, WRITE_RETRIES_TOTAL, LAST_WRITE, DECISIONS_TOTAL,
        COMMANDS_REFUSED_TOTAL, ADDRESS_STATES, WAKING_ADDRESSES, OVERDUE_SECONDS,
        POLICY_PARTITIONS, LAG_RECORDS, SECONDS_BEHIND, OLDEST_UNACKED_SECONDS, PARTITIONS,
        REBALANCES_TOTAL, KAFKA_AWAY, WAITING_FOR_CLICKHOUSE, WAITING_FOR_KAFKA, PAUSED_TOPICS,
        OFFSET_RESETS_TOTAL, LOST_RECORDS_TOTAL,
    ),
    "gateway": (
        BUILD_INFO, HOOKS_ACCEPTED_TOTAL, HOOK_HANDSHAKES_TOTAL, HOOKS_REFUSED_TOTAL, KAFKA_AWAY,
        REQUEST_SECONDS,
    ),
    "api": (BUILD_INFO, REQUEST_SECONDS, AUDIT_LINES_TOTAL, AUDIT_LINES_WAITING),
}  # fmt: skip


def registry_of(part: Part) -> CollectorRegistry:
    """Return what a part serves: its metrics, and those of every process."""
    BUILD_INFO.labels(version=version("sendlog"), part=part).set(1)
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter
    registry = CollectorRegistry()
    of_process = (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR)
    for collector in (*of_process, *METRICS_BY_PART[part]):
        registry.register(collector)
    return registry


def tenant_label(tenant: str) -> str:
    """Return the label of a tenant: its own, or that of all others."""
    if len(_labelled_tenants) < MAX_TENANT_LABELS:
        _labelled_tenants.add(tenant)
    return tenant if tenant in _labelled_tenants else OTHER_LABEL
