"""The composition root: everything of a worker is put together here, and nothing at import."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import tempfile
from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import faust
import pyarrow as pa
import stamina
import uvloop
from faust.worker import Worker
from prometheus_client import start_http_server

from processor import policies, policy_rows, rules, topics
from processor.decisions import Decisions
from processor.decoding import Decoder
from processor.feeding import partition_of, to_records
from processor.health import watch_broker
from processor.hearing import Log
from processor.intake import Event, Intake
from processor.listed import Follower, Listed
from processor.logging import get
from processor.patience import patiently
from processor.policies import Policies
from processor.progress import Progress
from processor.publishing import publish
from processor.settings import Kafka, Settings
from processor.states import States, read_back
from projections import store
from projections.ddl import Target
from projections.listed import History
from schemas.bounces import Rules

log = get(__name__)

#: Of glibc's `mallopt`: how many arenas there may be, and from how many bytes on a block is mapped
#: by itself, so that it goes back when it is freed (else that grows with the blocks).
_ALLOCATOR = {-8: 2, -3: 1 << 20}


class StartError(RuntimeError):
    """A worker cannot start; the text says what to do."""


class Chunks(faust.Schema):
    """Leaves keys and values as the transport delivered them: we decode."""

    def loads_key(self, _app: Any, message: Any, **_: Any) -> Any:
        """Return the key unchanged."""
        return message.key

    def loads_value(self, _app: Any, message: Any, **_: Any) -> Any:
        """Return the chunk unchanged."""
        return message.value


def client_of(settings: Settings, *, database: str | None = None) -> Any:
    """Return a ClickHouse client. Raises as `store.connect` does."""
    clickhouse = settings.clickhouse
    return store.connect(
        clickhouse.url,
        user=clickhouse.user,
        password=clickhouse.password.get_secret_value(),
        database=clickhouse.database if database is None else database,
        timeout=clickhouse.timeout,
    )


def target_of(settings: Settings) -> Target:
    """Return where in ClickHouse the tables are."""
    return Target(settings.clickhouse.database, settings.clickhouse.cluster)


def build(
    settings: Settings, inputs: Mapping[str, int], fed: int, bounces: Rules, policed: Policies
) -> faust.App:
    """Return the Faust application of a worker.

    `inputs` are the topics that intake reads, with their numbers of partitions; `fed` is that of
    the topic that the rules are fed by.
    """
    app = _faust_app(settings.kafka)
    send = partial(publish, app)
    connect = partial(client_of, settings)
    database = settings.clickhouse.database
    listed = Listed()
    intake = Intake(
        decode=Decoder(
            settings.intake,
            max_record_bytes=settings.kafka.max_record_bytes,
            rules=bounces,
            listed=listed,
            feeds=fed if settings.policy else 0,
        ),
        insert=store.Store(connect, database).insert,
        publish=send,
        batch_rows=settings.intake.batch_rows,
        write_interval=settings.intake.write_interval,
        stop_after_bad=settings.intake.stop_after_bad,
    )
    _take_in(app, intake, inputs)

    @app.task
    async def watch() -> None:
        await watch_broker(settings.kafka.bootstrap)

    if settings.policy:
        states = States(partial(read_back, settings.kafka.bootstrap))
        progress = Progress(
            settings.kafka.bootstrap, settings.kafka.group, inputs, {topics.POLICY: fed}
        )
        decisions = Decisions(
            states=states,
            policies=policed,
            hear=Log(connect, database).hear,
            publish=send,
            bury=intake.bury,
            list_address=listed.add,
            intake_keeps_up=intake.keeps_up,
            known_until=progress.look,
            hold=partial(_hold, app),
        )
        follower = Follower(
            listed=listed,
            history=History(connect, database),
            feed=lambda missed: send(to_records(missed, [], fed)),
            is_ours=lambda whose: states.has(partition_of(whose, fed)),
            known_until=progress.look,
        )
        _decide(app, decisions, states)

        @app.task
        async def follow_blacklist() -> None:
            await follower.run()

        @app.task
        async def tell_policies() -> None:
            await patiently(partial(policy_rows.tell, connect, database, policed))

    return app


def _faust_app(kafka: Kafka) -> faust.App:
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


def _take_in(app: faust.App, intake: Intake, inputs: Iterable[str]) -> None:
    """Let intake have the chunks of its topics."""

    @app.agent(app.topic(*inputs, schema=Chunks(), internal=False), name="sendlog.intake")
    async def take(stream: Any) -> None:
        chunks: AsyncIterable[Event] = stream.noack().events()
        async for chunk in chunks:
            await intake.take(chunk)

    @app.task
    async def write() -> None:
        await intake.run()


def _hold(app: faust.App, held: bool) -> None:  # noqa: FBT001
    """Fetch no more of what the rules are fed, or go on."""
    ours = {each for each in app.consumer.assignment() if each.topic == topics.POLICY}
    if held:
        app.consumer.pause_partitions(ours)
    else:
        app.consumer.resume_partitions(ours)


def _decide(app: faust.App, decisions: Decisions, states: States) -> None:
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


def _keep_little_memory() -> None:
    """Let what a thread once needed go back, rather than be kept for it.

    Arrow's own allocator keeps it (peak 570 instead of 490 MB), and so does glibc, with an arena
    for each thread and no limit: a worker grew to 749 MB over 10 million events.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with suppress(AttributeError):  # another C library
        for parameter, value in _ALLOCATOR.items():
            ctypes.CDLL(None).mallopt(parameter, value)


def run_worker(settings: Settings) -> None:
    """Run a worker until it is told to stop.

    Raises `StartError`, `RulesError`, `PolicyError`, or its crash.
    """
    bounces = rules.in_force(settings)
    in_force = policies.in_force(settings)
    try:
        inputs, problems = topics.check(settings.kafka)
        if not settings.policy:  # nobody would obey them
            inputs.remove(topics.COMMANDS)
        counts = topics.partitions(settings.kafka, [*inputs, topics.POLICY])
    except topics.BrokerError as error:
        raise StartError(str(error)) from error
    if problems:
        raise StartError("\n".join(problems))
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    stamina.instrumentation.set_on_retry_hooks([])  # intake says once what there is to say
    # A chunk's events live until it is written; to look through them every 700 allocations finds
    # nothing and costs a tenth of the decoding (5.3 instead of 4.8 µs per event).
    gc.set_threshold(100_000, 20, 20)
    _keep_little_memory()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.set_event_loop(loop)
    fed = counts.pop(topics.POLICY)
    app = build(settings, counts, fed, bounces.rules, in_force)
    worker = Worker(app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    log.info(
        "worker_starting", topics=list(inputs), group=settings.kafka.group,
        rules_version=bounces.rules.version, rules_file=str(bounces.file or "built in"),
        policy=settings.policy, policy_file=str(in_force.file or "built in"),
    )  # fmt: skip
    try:
        worker.execute_from_commandline()
    finally:  # Faust leaves by SystemExit, also after a crash
        if worker.crash_reason is not None:
            log.critical("worker_stopped", error=str(worker.crash_reason))
        else:
            log.info("worker_stopped")
