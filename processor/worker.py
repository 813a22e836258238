"""The composition root of a worker: everything is put together here, and nothing at import."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import faust
import pyarrow as pa
import stamina
import uvloop
from faust.worker import Worker

from processor import metrics
from processor.bounce_rules import BounceRulesInForce, bounce_rules_in_force
from processor.clickhouse import client_of, retry_while_away
from processor.faust_app import (
    add_intake,
    add_policy,
    add_task,
    faust_app,
    follow_topics,
    observe_rebalances,
    pause_topic,
)
from processor.intake.decoder import Decoder
from processor.intake.forgotten import ForgottenPeople
from processor.intake.identity import Identities
from processor.intake.policy_feed import chosen_events, partition_of, to_records
from processor.intake.suppressed_addresses import SuppressedAddresses, SuppressionFollower
from processor.intake.topic_pauses import TopicPauses
from processor.intake.walls import Walls
from processor.intake.worker_health import WorkerHealth
from processor.intake.writer import Intake, JoinOutcome
from processor.kafka import patches, topics, transport
from processor.kafka.batch_producer import Publish, publish_batch
from processor.kafka.broker_clock import BrokerClock
from processor.kafka.connection import BrokerError
from processor.kafka.health import watch_broker
from processor.kafka.lag import Undone, watch_lag
from processor.kafka.private_names import check_library
from processor.kafka.watermark import Watermark
from processor.logging import get
from processor.metrics_server import serve_metrics
from processor.policy.agent import PolicyAgent
from processor.policy.config import Policies, policies_in_force
from processor.policy.lookups import Lookups
from processor.policy.policy_table import write_policies
from processor.policy.state_store import StateStore, read_partition_states, take_over_partition
from processor.settings import Settings
from projections.clickhouse import store
from projections.queries.suppressed_sends import SuppressedSends
from schemas.errors import ExplainedError
from schemas.events import EventFields

log = get(__name__)

#: Seconds that threads have to end after the worker has.
MAX_EXIT_SECONDS: Final = 2.0
#: Of glibc's `mallopt`: how many arenas there may be, and from how many bytes on a block is mapped
#: by itself, so that it goes back when it is freed (else that grows with the blocks).
_ALLOCATOR_OPTIONS: Final = {-8: 2, -3: 1 << 20}
#: The garbage collector's threshold. A chunk's events live until it is written; to look through
#: them every 700 allocations finds nothing and costs a tenth of the decoding (E-031).
_GC_ALLOCATIONS: Final = 100_000


class StartError(ExplainedError):
    """A worker cannot start; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInputs:
    """What a worker goes by.

    `topics` are those that intake reads, with their numbers of partitions, and follows what the
    broker has; `policy_partitions` is the number of `delivery.policy`.
    """

    topics: dict[str, int]
    policy_partitions: int
    bounce_rules: BounceRulesInForce
    policies: Policies


def build_worker(
    settings: Settings, inputs: WorkerInputs, loop: asyncio.AbstractEventLoop
) -> tuple[faust.App, WorkerHealth]:
    """Return the Faust application of a worker that is to run in a loop, and its health."""
    app = faust_app(settings.kafka)
    publish = partial(publish_batch, app)
    connect = partial(client_of, settings)
    suppressed = SuppressedAddresses()
    partitions = inputs.policy_partitions if settings.policy else 0
    identities = Identities(connect, settings.clickhouse.database)
    forgotten = ForgottenPeople(settings.privacy.secret.get_secret_value())

    def join(tables: Sequence[pa.Table]) -> JoinOutcome:
        joined = identities.join(tables)
        events = cast("list[EventFields]", joined.events)
        chosen = chosen_events(events, suppressed) if partitions else []
        return JoinOutcome(to_records(chosen, [], partitions or 1), joined.marks)

    decoder = Decoder(
        settings.intake,
        max_record_bytes=settings.kafka.max_record_bytes,
        rules=inputs.bounce_rules.rules,
        suppressed=suppressed,
        policy_partitions=partitions,
        regions=settings.numbers.by_tenant,
        resolve=identities.resolve,
        walls=Walls.of(settings.kafka),
        forgotten=forgotten,
    )
    intake = Intake(
        decode=decoder.begin,
        complete=decoder.complete,
        insert=store.Store(connect, settings.clickhouse.database).insert,
        join=join,
        publish=publish,
        batch_rows=settings.intake.batch_rows,
        write_interval=settings.intake.write_interval,
        keep_raw=settings.raw.keep,
        pauses=TopicPauses(
            after_bad=settings.intake.stop_after_bad,
            rate=settings.intake.bad_rate,
            pause=partial(pause_topic, app),
        ),
    )
    if not settings.policy:
        suppressed.is_current.set()  # nobody asks

    async def wait_until_known() -> None:
        await suppressed.is_current.wait()
        await forgotten.is_known.wait()

    add_intake(app, intake, inputs.topics, wait_until_known)
    add_task(app, partial(forgotten.follow, connect, settings.clickhouse.database))
    health = WorkerHealth(
        loop=loop,
        intake=intake,
        timeout=settings.clickhouse.timeout,
        has_blacklist=suppressed.is_current.is_set,
        reading_partitions=list,
    )

    def count_rebalance() -> None:
        health.has_joined = True
        metrics.REBALANCES_TOTAL.inc()

    def undone() -> Mapping[Any, Undone]:
        held: Mapping[Any, Undone] = app.consumer.undone()  # Faust makes it when it starts
        return held

    observe_rebalances(app, count_rebalance)
    add_task(app, partial(watch_broker, settings.kafka, observe=health.observe_kafka))
    add_task(app, partial(watch_lag, settings.kafka, undone))
    add_task(app, partial(follow_topics, app, inputs.topics, partial(_intake_topics, settings)))
    if settings.policy:
        states = _build_policy(app, settings, inputs, intake, suppressed, publish)
        health.reading_partitions = states.reading
    return app, health


def _build_policy(
    app: faust.App,
    settings: Settings,
    inputs: WorkerInputs,
    intake: Intake,
    suppressed: SuppressedAddresses,
    publish: Publish,
) -> StateStore:
    kafka, partitions = settings.kafka, inputs.policy_partitions
    connect, database = partial(client_of, settings), settings.clickhouse.database
    clock = BrokerClock()
    states = StateStore(
        take_over=partial(take_over_partition, kafka),
        read=partial(read_partition_states, kafka, partitions=partitions),
        observe_clock=clock.observe,
    )
    watermark = Watermark(
        kafka,
        inputs.topics,
        {topics.POLICY_TOPIC: partitions},
        clock=clock.now,
    )
    agent = PolicyAgent(
        states=states,
        policies=inputs.policies,
        fetch_lookups=Lookups(connect, database).fetch,
        dead_letter=intake.dead_letter,
        feed=publish,
        partitions=partitions,
        add_suppressed=suppressed.add,
        wait_until_caught_up=intake.wait_until_caught_up,
        watermark=watermark.refresh,
        pause_feed=partial(pause_topic, app, topics.POLICY_TOPIC),
        clock=clock,
        mailers=kafka.mailers_by_tenant,
    )
    follower = SuppressionFollower(
        suppressed=suppressed,
        fetch_sends=SuppressedSends(connect, database).fetch,
        feed=lambda sends: publish(to_records(sends, [], partitions)),
        owns=lambda address: states.owns(partition_of(address, partitions)),
        watermark=watermark.refresh,
        clock=clock.now,
    )
    add_policy(app, agent, states)
    add_task(app, partial(follower.run, kafka))
    write = partial(write_policies, connect, database, inputs.policies)
    add_task(app, partial(retry_while_away, write))
    return states


def run_worker(settings: Settings) -> None:
    """Run a worker until it is told to stop.

    Raises `StartError`, `LibraryError`, `BounceRulesError`, `PolicyError`, or its crash.
    """
    patches.apply()
    check_library("faust-streaming", transport.RELIED_ON)
    inputs = _inputs(settings)
    stamina.instrumentation.set_on_retry_hooks([])  # intake says once what there is to say
    gc.set_threshold(_GC_ALLOCATIONS, 20, 20)
    _return_freed_memory()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.set_event_loop(loop)
    app, health = build_worker(settings, inputs, loop)
    serve_metrics(settings, "worker", {"/livez": health.live, "/readyz": health.ready})
    worker: Any = Worker(app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    log.info(
        "worker_starting", topics=list(inputs.topics), group=settings.kafka.group,
        rules_version=inputs.bounce_rules.rules.version,
        rules_file=str(inputs.bounce_rules.file or "built in"),
        policy=settings.policy, policy_file=str(inputs.policies.file or "built in"),
    )  # fmt: skip
    if settings.policy and not settings.kafka.command_secret.get_secret_value():
        log.warning("commands_unsigned", setting="SENDLOG_KAFKA__COMMAND_SECRET")
    try:
        worker.execute_from_commandline()
    except SystemExit as leaving:  # Faust's way, also after a crash
        _limit_exit_time(leaving.code)
        raise
    finally:
        if worker.crash_reason is not None:
            log.critical("worker_stopped", error=str(worker.crash_reason))
        else:
            log.info("worker_stopped")


def _inputs(settings: Settings) -> WorkerInputs:
    bounce_rules = bounce_rules_in_force(settings)
    policies = policies_in_force(settings)
    try:
        _, problems = topics.check_topics(settings.kafka)
        if problems:
            raise StartError("\n".join(problems))
        for problem in topics.config_problems(settings.kafka):
            log.warning("topic_config", problem=problem)
        counts = topics.partition_counts(settings.kafka, [topics.POLICY_TOPIC])
        return WorkerInputs(
            policy_partitions=counts[topics.POLICY_TOPIC], topics=_intake_topics(settings),
            bounce_rules=bounce_rules, policies=policies,
        )  # fmt: skip
    except BrokerError as error:
        raise StartError(str(error)) from error


def _intake_topics(settings: Settings) -> dict[str, int]:
    """Return the topics that intake reads now, with their numbers of partitions."""
    names, _ = topics.check_topics(settings.kafka)
    if not settings.policy:  # nobody would obey them
        names.remove(topics.COMMANDS_TOPIC)
    return topics.partition_counts(settings.kafka, names)


def _limit_exit_time(code: object) -> None:
    """End the process soon, with an exit code.

    The interpreter would wait for threads, and those may wait for a database that hangs. What they
    would have written is not committed, and is read again.
    """
    ending = threading.Timer(MAX_EXIT_SECONDS, os._exit, [code if isinstance(code, int) else 1])
    ending.daemon = True
    ending.start()


def _return_freed_memory() -> None:
    """Let memory that a thread once needed go back, rather than be kept for it.

    Arrow's own allocator keeps it (E-033), and so does glibc, with an arena for each thread and no
    limit (E-059).
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with suppress(AttributeError):  # another C library
        for parameter, value in _ALLOCATOR_OPTIONS.items():
            ctypes.CDLL(None).mallopt(parameter, value)
