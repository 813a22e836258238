"""Faust as a worker uses it: its settings, and the two agents."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import faust
from faust.types.auth import CredentialsT

from processor.intake.writer import ChunkEvent, Intake
from processor.kafka import topics
from processor.kafka.batch_producer import PUBLISH_TIMEOUT_SECONDS
from processor.kafka.connection import BrokerError, async_security
from processor.kafka.producer import COMPRESSION, MAX_BATCH_BYTES, MAX_REQUEST_BYTES
from processor.logging import get
from processor.policy.agent import PolicyAgent
from processor.policy.state_store import StateStore
from processor.settings import KafkaSettings

log = get(__name__)


#: How old may be what a consumer knows of the partitions of its topics.
METADATA_MAX_AGE_MS: Final = 20_000
#: Between two looks at which topics there are.
TOPIC_POLL_INTERVAL_SECONDS: Final = 20.0
#: Before topics are added to the subscription; Faust would wait for most of a minute.
RESUBSCRIBE_SECONDS: Final = 1.0


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
        broker_credentials=_credentials(async_security(kafka)),
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
        consumer_metadata_max_age_ms=METADATA_MAX_AGE_MS,
        producer_linger=0.02,
        producer_request_timeout=PUBLISH_TIMEOUT_SECONDS,
        producer_max_batch_size=MAX_BATCH_BYTES,
        producer_max_request_size=MAX_REQUEST_BYTES,
        producer_compression_type=COMPRESSION,
    )


def _credentials(security: Mapping[str, Any]) -> CredentialsT | None:
    """Return the encryption and the login of aiokafka as Faust takes them; None: neither."""
    context = security.get("ssl_context")
    if "sasl_oauth_token_provider" in security:
        tokens = security["sasl_oauth_token_provider"]
        return faust.OAuthCredentials(oauth_cb=tokens, ssl_context=context)
    if "sasl_mechanism" in security:
        return faust.SASLCredentials(
            username=security["sasl_plain_username"], password=security["sasl_plain_password"],
            mechanism=security["sasl_mechanism"], ssl_context=context,
        )  # fmt: skip
    return faust.SSLCredentials(context) if context else None


def observe_rebalances(app: faust.App, observe: Callable[[], None]) -> None:
    """Let `observe` be called whenever the group has shared out its partitions."""

    @app.on_partitions_assigned.connect
    async def count(_app: Any, _assigned: set[Any], **_: Any) -> None:
        observe()


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


async def follow_topics(
    app: faust.App, counts: dict[str, int], read_counts: Callable[[], dict[str, int]]
) -> None:
    """Keep `counts`, and what intake reads, up to date with the broker; never returns.

    `read_counts` returns the topics that intake should read, with their numbers of partitions; it
    runs on a thread, and may raise `BrokerError`. The partitions of known topics the consumer
    finds by itself.
    """
    app.topics._resubscribe_sleep_lock_seconds = RESUBSCRIBE_SECONDS  # noqa: SLF001 - Faust's
    while True:
        await asyncio.sleep(TOPIC_POLL_INTERVAL_SECONDS)
        try:
            current = await asyncio.to_thread(read_counts)
        except BrokerError:  # somebody else logs that it is away
            continue
        if added := current.keys() - counts.keys():
            log.info("topics_added", topics=sorted(added))
        counts.clear()
        counts.update(current)
        # Again until Faust knows them: it forgets what changes during a rebalance.
        if not all(map(app.topics.acks_enabled_for, counts)):
            _subscribe(app, counts)


def _subscribe(app: faust.App, names: Iterable[str]) -> None:
    """Let the topics of intake be these, and Faust subscribe to them."""
    [intake] = [each for each in app.topics if topics.POLICY_TOPIC not in each.topics]
    app.topics.discard(intake)
    intake.topics = list(names)
    app.topics.add(intake)


def pause_topic(app: faust.App, topic: str, paused: bool) -> None:  # noqa: FBT001
    """Fetch no more of a topic, or go on; a rebalance lets it go on, too."""
    places = {place for place in app.consumer.assignment() if place.topic == topic}
    if paused:
        app.consumer.pause_partitions(places)
    else:
        app.consumer.resume_partitions(places)
