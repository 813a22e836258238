"""Faust as a worker uses it: its settings, and the two agents."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterable, Iterable
from pathlib import Path
from typing import Any

import faust

from processor.intake.writer import Event, Intake
from processor.kafka import topics
from processor.policy.agent import Decisions
from processor.policy.state_store import States
from processor.settings import Kafka


class Chunks(faust.Schema):
    """Leaves keys and values as the transport delivered them: we decode."""

    def loads_key(self, _app: Any, message: Any, **_: Any) -> Any:
        """Return the key unchanged."""
        return message.key

    def loads_value(self, _app: Any, message: Any, **_: Any) -> Any:
        """Return the chunk unchanged."""
        return message.value


def faust_app(kafka: Kafka) -> faust.App:
    """Return a Faust application without agents, with nothing in it that would lose data."""
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
        producer_max_batch_size=262_144,
        producer_max_request_size=16 * 1024 * 1024,
        producer_compression_type="lz4",
    )


def add_intake(app: faust.App, intake: Intake, inputs: Iterable[str]) -> None:
    """Let intake have the chunks of its topics."""

    @app.agent(app.topic(*inputs, schema=Chunks(), internal=False), name="sendlog.intake")
    async def take(stream: Any) -> None:
        chunks: AsyncIterable[Event] = stream.noack().events()
        async for chunk in chunks:
            await intake.take(chunk)

    @app.task
    async def write() -> None:
        await intake.run()


def pause_policy_feed(app: faust.App, held: bool) -> None:  # noqa: FBT001
    """Fetch no more of what the rules are fed, or go on."""
    ours = {each for each in app.consumer.assignment() if each.topic == topics.POLICY}
    if held:
        app.consumer.pause_partitions(ours)
    else:
        app.consumer.resume_partitions(ours)


def add_policy(app: faust.App, decisions: Decisions, states: States) -> None:
    """Let the rules have what they are fed, and time; and the states of what is assigned."""

    @app.agent(app.topic(topics.POLICY, schema=Chunks(), internal=False), name="sendlog.policy")
    async def take(stream: Any) -> None:
        async for chunk in stream.noack().events():
            await decisions.take(chunk)

    @app.on_partitions_assigned.connect
    async def read_states(_app: Any, assigned: set[Any], **_: Any) -> None:
        states.assign(each.partition for each in assigned if each.topic == topics.POLICY)

    @app.on_partitions_revoked.connect
    async def forget_states(_app: Any, revoked: set[Any], **_: Any) -> None:
        states.forget(each.partition for each in revoked if each.topic == topics.POLICY)

    @app.task
    async def schedule() -> None:
        await decisions.run()
