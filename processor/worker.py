"""The composition root: everything of a worker is put together here, and nothing at import."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import faust
import pyarrow as pa
import stamina
import uvloop
from faust.worker import Worker
from prometheus_client import start_http_server

from processor import bounce_rules
from processor.clickhouse import client_of, patiently
from processor.faust_app import add_intake, add_policy, faust_app, pause_policy_feed
from processor.intake.decoder import Decoder
from processor.intake.policy_feed import partition_of, to_records
from processor.intake.suppressed_addresses import Follower, Listed
from processor.intake.writer import Intake
from processor.kafka import patches, topics
from processor.kafka.batch_producer import publish
from processor.kafka.health import watch_broker
from processor.kafka.watermark import Progress
from processor.logging import get
from processor.policy import config, policy_table
from processor.policy.agent import Decisions
from processor.policy.config import Policies
from processor.policy.lookups import Log
from processor.policy.state_store import States, read_back
from processor.settings import Settings
from projections.clickhouse import store
from projections.queries.suppressed_sends import History
from schemas.bounces import Rules
from schemas.errors import ExplainedError

log = get(__name__)

#: Of glibc's `mallopt`: how many arenas there may be, and from how many bytes on a block is mapped
#: by itself, so that it goes back when it is freed (else that grows with the blocks).
_ALLOCATOR = {-8: 2, -3: 1 << 20}


class StartError(ExplainedError):
    """A worker cannot start; the text says what to do."""


def build(
    settings: Settings, inputs: Mapping[str, int], fed: int, bounces: Rules, policed: Policies
) -> faust.App:
    """Return the Faust application of a worker.

    `inputs` are the topics that intake reads, with their numbers of partitions; `fed` is that of
    the topic that the rules are fed by.
    """
    app = faust_app(settings.kafka)
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
    add_intake(app, intake, inputs)

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
            hold=partial(pause_policy_feed, app),
        )
        follower = Follower(
            listed=listed,
            history=History(connect, database),
            feed=lambda missed: send(to_records(missed, [], fed)),
            is_ours=lambda whose: states.has(partition_of(whose, fed)),
            known_until=progress.look,
        )
        add_policy(app, decisions, states)

        @app.task
        async def follow_blacklist() -> None:
            await follower.run()

        @app.task
        async def tell_policies() -> None:
            await patiently(partial(policy_table.tell, connect, database, policed))

    return app


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
    patches.apply()
    bounces = bounce_rules.in_force(settings)
    in_force = config.in_force(settings)
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
