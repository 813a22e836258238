"""Addresses from before in their normal form: in the database, and in the states of the policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from processor.intake.policy_feed import to_records
from processor.kafka.producer import sync_producer
from processor.kafka.topics import POLICY_TOPIC, partition_counts
from processor.policy.simulation import past_command, past_event
from projections.clickhouse.ddl import Target
from projections.clickhouse.readdress import readdress
from projections.queries.policy_events import needed_events
from schemas.addresses import Address

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from processor.settings import Settings
    from schemas.decisions import Command


def readdress_all(client: Client, target: Target, settings: Settings) -> Iterator[Address]:
    """Replace all addresses that are not in their normal form; yield each, as it was.

    The policy is fed what it needs to know of the normal forms, so that it blacklists whom it had
    blacklisted. Its states of the old forms are of no effect any more. Raises `BrokerError`, and
    ClickHouse's errors: then the next run does the rest.
    """

    def feed(tenant: str, addresses: Sequence[Address]) -> None:
        if settings.policy:
            _feed_policy(client, target, settings, tenant, frozenset(addresses))

    yield from readdress(client, target, settings.numbers.by_tenant, feed)


def _feed_policy(
    client: Client, target: Target, settings: Settings, tenant: str, addresses: frozenset[Address]
) -> None:
    [partitions] = partition_counts(settings.kafka, [POLICY_TOPIC]).values()
    events: list[dict[str, Any]] = []
    commands: list[Command] = []
    for row in needed_events(client, target, tenant):
        if Address(tenant, row["channel"], row["recipient"]) in addresses:
            command = past_command(past_event(row))
            if command is None:
                events.append(row)
            else:
                commands.append(command)
    with sync_producer(settings.kafka) as send:
        for record in to_records(events, commands, partitions):
            assert record.value is not None
            send(record.topic, record.value, partition=record.partition)
