"""All metrics of the worker and the gateway: name, type and meaning."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

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
WRITE_ROWS: Final = Histogram(
    "sendlog_write_rows", "events in one write", buckets=[1, 10, 100, 1e3, 1e4, 3e4, 1e5]
)
DECISIONS_TOTAL: Final = Counter(
    "sendlog_decisions_total", "decisions on retries and the blacklist", ["decision"]
)
ADDRESS_STATES: Final = Gauge(
    "sendlog_addresses_with_trouble", "addresses that something is remembered of"
)
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
