"""Faust as a worker uses it: its settings, and the two agents."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import faust

from processor.intake.writer import ChunkEvent, Intake
from processor.kafka import topics
from processor.kafka.batch_producer import PUBLISH_TIMEOUT_SECONDS
from processor.policy.agent import PolicyAgent
from processor.policy.state_store import StateStore
from processor.settings import KafkaSettings


class ChunkSchema(faust.Schema):
    """Leaves keys and values as the transport delivered them: we decode."""

    def loads_key(self, _app: Any, message: Any, **_: Any) -> Any:
        """Return the key unchanged."""
        return message.key

    def loads_value(self, _app: Any, message: Any, **_: Any) -> Any:
        """Return the chunk unchanged."""
        return message.value


def faust_app(kafka: KafkaSettings) -> faust.App:
    """Return a Faust application without agents, set so that it loses nothing."""
    hosts = kafka.bootstrap.split(",")
    return faust.App(
        kafka.group,
        broker_consumer=[f"chunks://{host}" for host in hosts],
        broker_producer=[f"kafka://{host}" for host in hosts],
        # What in Faust would lose data, and the setting that does not.
        processing_guarantee="at_least_once",
        agent_supervisor="mode.supervisors.CrashingSupervisor",
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_replication_factor=kafka.replication,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
        datadir=Path(tempfile.gettempdir()) / f"sendlog-{kafka.group}",  # Faust insists on one
        worker_redirect_stdouts=False,
        broker_commit_interval=1.0,
        # A crashed worker's partitions go to the others after this; it beats thrice meanwhile.
        broker_session_timeout=10.0,
        broker_heartbeat_interval=3.0,
        # A bigger fetch is a bigger insert.
        broker_max_poll_records=kafka.fetch_records,
        consumer_max_fetch_size=kafka.fetch_bytes,
        stream_buffer_maxsize=2,
        producer_linger=0.02,
        producer_request_timeout=PUBLISH_TIMEOUT_SECONDS,
        producer_max_batch_size=262_144,
        producer_max_request_size=16 * 1024 * 1024,
        producer_compression_type="lz4",
    )


def add_task(app: faust.App, run: Callable[[], Awaitable[Any]]) -> None:
    """Let the application run something from its start on."""

    @app.task
    async def task() -> None:
        await run()


def add_intake(
    app: faust.App,
    intake: Intake,
    topic_names: Iterable[str],
    wait_until_ready: Callable[[], Awaitable[Any]],
) -> None:
    """Let intake have the chunks of its topics, once it has what it goes by."""

    @app.agent(app.topic(*topic_names, schema=ChunkSchema(), internal=False), name="sendlog.intake")
    async def take(stream: Any) -> None:
        await wait_until_ready()
        events: AsyncIterable[ChunkEvent] = stream.noack().events()
        async for event in events:
            await intake.take(event)

    add_task(app, intake.run)


def add_policy(app: faust.App, agent: PolicyAgent, states: StateStore) -> None:
    """Let the policy have what it is fed, time, and the states of the assigned partitions."""

    @app.agent(
        app.topic(topics.POLICY_TOPIC, schema=ChunkSchema(), internal=False), name="sendlog.policy"
    )
    async def take(stream: Any) -> None:
        async for event in stream.noack().events():
            agent.take(event)

    @app.on_partitions_assigned.connect
    async def assign_states(_app: Any, assigned: set[Any], **_: Any) -> None:
        states.assign(place.partition for place in assigned if place.topic == topics.POLICY_TOPIC)

    @app.on_partitions_revoked.connect
    async def revoke_states(_app: Any, revoked: set[Any], **_: Any) -> None:
        agent.revoke(place.partition for place in revoked if place.topic == topics.POLICY_TOPIC)

    add_task(app, agent.run)


def pause_topic(app: faust.App, topic: str, paused: bool) -> None:  # noqa: FBT001
    """Fetch no more of a topic, or go on; a rebalance lets it go on, too."""
    places = {place for place in app.consumer.assignment() if place.topic == topic}
    if paused:
        app.consumer.pause_partitions(places)
    else:
        app.consumer.resume_partitions(places)
