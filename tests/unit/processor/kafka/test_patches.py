"""A connection that the loop has closed is an error of Kafka, whatever the loop calls it."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import SimpleNamespace

import pytest
import uvloop
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from processor.kafka import patches


def reset(_reader, writer):
    """Let the peer's end break, rather than end."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()


async def send_after_the_connection_broke():
    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        connection = AIOKafkaConnection(*server.sockets[0].getsockname())
        connection._reader, connection._writer = await asyncio.open_connection(
            connection.host, connection.port
        )
        connection._versions = {3: (0, 5)}
        # Its read, in which it would notice, is yet to come.
        connection._read_task = asyncio.create_task(asyncio.Event().wait())
        while connection._reader.exception() is None:
            await asyncio.sleep(0)
        assert connection.connected()
        with pytest.raises(KafkaError, match="broken"):
            connection.send(MetadataRequest([]))
        assert not connection.connected()


def test_uvloops_refusal_to_write_is_an_error_of_kafka():
    patches.apply()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send_after_the_connection_broke())


class RebalancedConsumer:
    """A consumer that loses its assignment while the broker is asked what is committed."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)

    def assignment(self):
        return self.outcomes[0][0] if self.outcomes else frozenset()

    async def seek_to_committed(self):
        assigned, outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return dict.fromkeys(assigned, outcome)


@pytest.mark.parametrize(
    "error", [IllegalStateError("No current assignment for partition 0"), AssertionError()]
)
def test_a_seek_that_meets_a_rebalance_goes_by_the_new_assignment(error):
    consumer = RebalancedConsumer((frozenset({"a", "b"}), error))
    assert asyncio.run(patches.seek_to_committed(consumer)) == {}
    consumer = RebalancedConsumer(
        (frozenset({"a", "b"}), error), (frozenset({"b"}), 7), (frozenset({"b"}), 7)
    )
    # Of what was asked of an assignment that is gone by then nothing counts.
    consumer.outcomes.insert(1, (frozenset({"c"}), 7))
    consumer.outcomes.append((frozenset({"b"}), 7))
    assert asyncio.run(patches.seek_to_committed(consumer)) == {"b": 7}


async def topics_joined_for_after_a_change_while_the_broker_was_away():
    """Let a member of a group subscribe to one more topic while it looks for its coordinator."""
    subscriptions = SubscriptionState()
    subscriptions.subscribe(topics={"sends"})
    subscriptions.subscription._assign([TopicPartition("sends", 0)])
    client = SimpleNamespace(cluster=ClusterMetadata())
    coordinator = GroupCoordinator(client, subscriptions, enable_auto_commit=False)
    topics = []

    async def broker_comes_back():
        if subscriptions.topics == {"sends"}:
            subscriptions.subscribe(topics={"sends", "events"})

    async def join(subscription, _before):
        topics.append(set(subscription.topics))
        if subscription.active:
            subscription._assign([TopicPartition("events", 0)])
            coordinator._rejoin_needed_fut = asyncio.get_running_loop().create_future()
            coordinator._closing.set_result(None)
        return subscription.assignment

    coordinator.ensure_coordinator_known = broker_comes_back
    coordinator.ensure_active_group = join
    await coordinator._coordination_task
    return topics


def test_a_topic_that_appears_while_the_broker_is_away_does_not_end_the_member():
    patches.apply()
    topics = asyncio.run(topics_joined_for_after_a_change_while_the_broker_was_away())
    assert topics[-1] == {"sends", "events"}
