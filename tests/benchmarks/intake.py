"""How fast a backlog in Kafka becomes queryable rows, beside stock Faust and peers.

A real broker and the real engine on this machine. All systems read the same records, in turn, each
round with a consumer group of its own and into empty tables, and must give the same log.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

from deploy.local.process import Program, Server
from processor.demo.traffic import Pace, in_order, messages
from processor.intake.decoder import Decoder
from processor.kafka import topics
from processor.kafka.connection import BrokerError
from processor.settings import IntakeSettings
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.tables import projections
from schemas.decisions import REFUSAL_KINDS
from schemas.events import DECISION_KINDS
from tests.benchmarks.measure import memory, processor_seconds
from tests.benchmarks.peers.job import Record as KafkaRecord
from tests.benchmarks.report import BenchmarkError, summary
from tests.chunks import chunk_of
from tests.system import DATABASE, running, wait_for

NAME = "intake"
LIMIT_DATABASE = "sendlog_limit"
PEERS = "tests.benchmarks.peers"
#: Of all events, how many are visible when the clock starts and when it stops.
START_SHARE, END_SHARE = 0.1, 0.95
#: The kinds of what the policy decides: events of its own, and what a refused send becomes.
DECIDED_KINDS = sorted({*DECISION_KINDS, *REFUSAL_KINDS})
#: Records decoded at a time while the backlog is made.
CHUNK_RECORDS = 5_000


class Contender(NamedTuple):
    """How a system is started, and where its events go; `{…}` are filled in.

    `without`: tables that the engine's views do not fill for it. `max_events`: of a system that
    would take many minutes, the events after which a later round stops. The first reads all, and
    is checked.
    """

    arguments: tuple[str, ...]
    database: str = DATABASE
    max_events: int | None = None
    without: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}


def peer(module, *arguments, **more):
    return Contender((f"{PEERS}.{module}", "{bootstrap}", "{url}", "{group}", *arguments), **more)


SYSTEMS = {
    "sendlog": Contender(("processor", "worker")),
    "sendlog, no raw records": Contender(
        ("processor", "worker"), environment={"SENDLOG_RAW__KEEP": "false"}
    ),
    # As if providers' ids and raw records were no matter: what both cost.
    "sendlog, no identity": Contender(
        (f"{PEERS}.without_identity", "worker"),
        without=("edges", "unmatched"),
        environment={"SENDLOG_RAW__KEEP": "false"},
    ),
    # What the peers do: without the policy for retries and the blacklist, and what it writes.
    "sendlog, log only": Contender(
        ("processor", "worker"),
        environment={"SENDLOG_POLICY": "false", "SENDLOG_RAW__KEEP": "false"},
    ),
    "stock Faust": peer("faust_agent", max_events=50_000),
    "stock Faust, tuned": peer("faust_agent", "20000", "0.2"),
    "sentry-arroyo": peer("arroyo"),
    "quixstreams": peer("quix"),
    "plain consumer": peer("plain"),
    "limit": peer("limit", database=LIMIT_DATABASE),
}
#: Those with the policy.
DECIDING = ("sendlog", "sendlog, no raw records", "sendlog, no identity")
MEASURED = (
    "events_per_second", "worker_cpu", "broker_cpu", "database_cpu", "worker_peak_mb", "seconds",
)  # fmt: skip
COLUMNS = {
    "system": ("system", ""),
    "events_per_second": ("events/s", ",.0f"),
    "events_per_second_low": ("least", ",.0f"),
    "events_per_second_high": ("most", ",.0f"),
    "worker_cpu": ("worker*", ".2f"),
    "broker_cpu": ("broker*", ".2f"),
    "database_cpu": ("database*", ".2f"),
    "worker_peak_mb": ("peak MB", ",.0f"),
}


def run(options, console):
    unknown = [name for name in options.only if name not in SYSTEMS]
    if unknown:
        raise BenchmarkError(f"no system {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    chosen = {name: system for name, system in SYSTEMS.items() if options.wants(name)}
    count = options.sized(500_000, 60_000)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as system:
        console.print(f"preloading {count:,} events")
        published = system.publish(records(count, raw=options.raw))
        system.client.command(f"CREATE DATABASE {LIMIT_DATABASE}")
        system.client.command(f"CREATE TABLE {LIMIT_DATABASE}.events AS {DATABASE}.events")
        rounds = {name: [] for name in chosen}
        for number in range(options.repeated()):
            for name, contender in chosen.items():
                events = min(count, contender.max_events or count) if number else count
                empty(system, contender)
                one = measure(system, name, contender, events, whole=events == count)
                if events == count and name not in DECIDING:  # their logs have decisions, too
                    one |= fingerprint(system, contender.database)
                rounds[name].append(one)
                console.print(
                    f"round {number + 1}: {name}: {one['events_per_second']:,.0f} events/s"
                )
        engine = system.value("SELECT version()")
    same_rows(rounds)
    return result(rounds, raw=options.raw) | {
        "events": count, "records": published, "engine": engine, "rounds": rounds
    }  # fmt: skip


def result(rounds, *, raw):
    """Return medians and spread of all rounds as rows, with the chart."""
    rows = [
        {"system": name} | {
            key: value for what in MEASURED
            if ones[0][what] is not None
            for key, value in summary([one[what] for one in ones], what).items()
        }
        for name, ones in rounds.items()
    ]  # fmt: skip
    what = "raw SES payloads" if raw else "facts"
    speed = ("events_per_second_low", "events_per_second_high")
    return {
        "title": f"Kafka backlog of {what} to queryable rows",
        "columns": COLUMNS,
        "rows": rows,
        "notes": [
            *compared(rows), *decided(rounds),
            "* processor seconds per 100,000 events; peak MB: the worker's",
        ],
        "chart": {
            "title": f"From a backlog of {what} in Kafka to queryable rows",
            "panels": [
                {"title": "throughput", "kind": "bars", "label": "system",
                 "values": {"events_per_second": "events/s"}, "spread": speed,
                 "unit": "events/s (median, least and most)"},
                {"title": "what it costs", "kind": "bars", "label": "system",
                 "values": {"worker_cpu": "worker", "broker_cpu": "broker",
                            "database_cpu": "database"},
                 "unit": "processor seconds per 100,000 events"},
                {"title": "memory of the worker", "kind": "bars", "label": "system",
                 "values": {"worker_peak_mb": "peak"}, "unit": "peak resident memory, MB"},
            ],
        },
    }  # fmt: skip


def compared(rows):
    """Say how Sendlog stands to stock Faust, to the best peer and to the limit, where measured."""
    speeds = {row["system"]: row["events_per_second"] for row in rows}
    ours, bare = speeds.pop("sendlog", None), speeds.pop("sendlog, log only", None)
    without_raw = speeds.pop("sendlog, no raw records", None)
    without_identity = speeds.pop("sendlog, no identity", None)
    if ours is None or not (speeds or bare or without_raw or without_identity):
        return []
    comparisons = [
        f"{ours / itself:.2f} times itself {what}"
        for what, itself in (
            ("with the log only", bare),
            ("without raw records", without_raw),
            ("without identity and raw records", without_identity),
        )
        if itself
    ]
    comparisons += [
        f"{ours / speeds[name]:.2f} times {name}"
        for name in ("stock Faust", "stock Faust, tuned", "limit") if name in speeds
    ]  # fmt: skip
    peers = {name: speed for name, speed in speeds.items() if name in SYSTEMS and name != "limit"}
    if peers:
        best = max(peers, key=peers.get)
        comparisons.append(f"{ours / peers[best]:.2f} times the best peer ({best})")
    return [f"sendlog is {', '.join(comparisons)}"]


def decided(rounds):
    """Say how long the policy took after the last row, where it was measured."""
    after = [one["committed_after"] for one in rounds.get("sendlog", ())]
    return [f"sendlog had decided on all of it {median(after):.0f} s later"] if after else []


def records(count, *, raw):
    """Yield records of the demo generator that hold `count` events, all different.

    Copies are left out, since the engine drops them at some time while the others are counted.
    """
    start = datetime.now(UTC) - timedelta(days=14)
    candidates = in_order(messages(1, start, raw=raw, pace=Pace(gap=1.0)))
    if raw:
        candidates = (record for record in candidates if record.topic == "email.events.ses")
    event_ids = set()
    while len(event_ids) < count:
        chunk = list(islice(candidates, CHUNK_RECORDS))
        for record, new_ids in zip(chunk, event_ids_of(chunk), strict=True):
            if new_ids and not new_ids & event_ids and len(event_ids) + len(new_ids) <= count:
                event_ids |= new_ids
                yield record


def event_ids_of(chunk):
    """Return the ids of the events of each record."""
    decode = Decoder(IntakeSettings(), max_record_bytes=1_048_576)
    ids = [set() for _ in chunk]
    for topic in {record.topic for record in chunk}:
        of_topic = [
            KafkaRecord(topic, 0, at, record.timestamp_ms, record.value, record.headers)
            for at, record in enumerate(chunk) if record.topic == topic
        ]  # fmt: skip
        events = decode(chunk_of(of_topic)).events.select(["source_offset", "event_id"]).to_pydict()
        for at, event in zip(events["source_offset"], events["event_id"], strict=True):
            ids[at].add(event)
    return ids


def empty(system, contender):
    """Empty the tables that a system writes, and the topics that its policy does."""
    system.recreate_topics(
        topics.DECISIONS_TOPIC,
        topics.POLICY_TOPIC,
        topics.POLICY_STATE_TOPIC,
        topics.RETRIES_TOPIC,
        topics.SUPPRESSIONS_TOPIC,
    )
    tables = [f"{contender.database}.events"]
    written = (
        "dead_letters", "edges", "raw_records", "records", "suppression_history", "unmatched",
    )  # fmt: skip
    tables += [f"{DATABASE}.{name}" for name in written]
    tables += [f"{DATABASE}.{log.state_table}" for log in projections().values()]
    for table in tables:
        system.client.command(f"TRUNCATE TABLE {table}")
    for _ in migrate(system.client, Target(DATABASE)):
        pass
    for table in contender.without:
        system.client.command(f"DROP VIEW {DATABASE}.{table}_fill")


def measure(system, name, contender, count, *, whole=True, already=0):
    """Return what one system took for so many events of the backlog, read from its start.

    `whole`: this is all of it, so wait until it is committed, for then the logs are complete.
    `already`: so many other events are in the table before, and stay.
    """
    with started(system, name, contender) as worker:
        wait_for(lambda: assigned(system) or ended(worker, name), f"{name} to be assigned")
        before, begun = spent(system, worker), time.monotonic()
        steps = watch(lambda: visible(system, contender) - already, worker, count, name)
        all_visible = time.monotonic()
        if whole:  # folds show a little later than events, and what the policy decides much later
            system.wait_until_committed()
        committed = time.monotonic()
        after, peak = spent(system, worker), memory(worker._process.pid, "VmHWM")
        merged(system)
        after["database"] = spent(system, worker)["database"]
    return {
        "events_per_second": speed(steps, count),
        "seconds": steps[-1][0] - begun,
        "committed_after": committed - all_visible if whole else None,
        **{f"{part}_cpu": (after[part] - before[part]) / steps[-1][1] * 100_000 for part in before},
        # What the limit has made before it begins is no matter of the worker's.
        "worker_peak_mb": peak if contender.database == DATABASE else None,
    }


@contextmanager
def started(system, name, contender):
    """Start a system in a new group, which becomes that of `system`; give its process."""
    system.group = group = f"bench-{name.replace(' ', '-').replace(',', '')}-{time.time_ns()}"
    module, *rest = contender.arguments
    places = {"bootstrap": system.broker.bootstrap, "url": system.engine.url, "group": group}
    command = [sys.executable, "-m", module, *(argument.format(**places) for argument in rest)]
    program = Program(
        name=name,
        command=command,
        environment={**system.environment, **contender.environment},
        grace=60,
    )
    with Server(program, system.folder / f"{group}.log") as worker:
        yield worker


def assigned(system):
    """Whether the group has its partitions."""
    with suppress(BrokerError), topics.admin_client(system.kafka) as admin:
        return admin.describe_groups([system.group])[system.group]["group_state"] == "Stable"
    return False  # the broker has no coordinator yet


def ended(worker, name):
    """Raise `BenchmarkError` with the end of its log if a worker has ended, else return False."""
    if worker.running:
        return False
    raise BenchmarkError(f"{name} ended:\n{worker.log.read_text(errors='replace')[-1500:]}")


def spent(system, worker):
    """Return the processor seconds of each part so far."""
    parts = {"worker": worker, "broker": system.broker, "database": system.engine}
    return {part: processor_seconds(server._process.pid) for part, server in parts.items()}


def visible(system, contender):
    """Return how many events are in the table, without what the policy has decided.

    It must cost the same however large the table is, so neither question reads all of it. The
    decisions are counted last: too many of them only make this a moment late.
    """
    events = system.value(f"SELECT count() FROM {contender.database}.events")
    return events - system.value(
        f"SELECT count() FROM {contender.database}.events WHERE kind IN {{kinds:Array(String)}} "
        f"AND source_topic = '{topics.DECISIONS_TOPIC}'",
        kinds=DECIDED_KINDS,
    )


def watch(count_visible, worker, count, name, timeout_seconds=3600):
    """Return when how many events were visible, at each change, until `count` are.

    To count costs the database something, so a long run is polled less often: every hundredth of
    what has passed, between 50 and 200 ms.
    """
    begun = time.monotonic()
    steps = [(begun, 0)]
    while steps[-1][1] < count:
        now_visible, now = count_visible(), time.monotonic()
        if now_visible > steps[-1][1]:
            steps.append((now, now_visible))
        if now > begun + timeout_seconds:
            raise BenchmarkError(f"{name} came to {now_visible:,} of {count:,} events only")
        ended(worker, name)
        time.sleep(min(0.2, max(0.05, (now - begun) / 100)))
    return steps


def speed(steps, count):
    """Return events per second of the steady part of a run; steps are times and counts.

    The clock starts and stops at the end of a write, so that each counted event has its whole time
    counted. What comes first and last is left out: at the start a system that reads ahead has read
    for nothing, at the end it has nothing more to read, and one that waits for a full batch waits.
    """
    steady = [step for step in steps if START_SHARE * count <= step[1] <= END_SHARE * count]
    if len(steady) < 2:  # a few large writes: all of them, or all that there is
        steady = steps[1:] if len(steps) > 2 else steps
    (began, first), (ended, last) = steady[0], steady[-1]
    return (last - first) / (ended - began)


def merged(system):
    """Wait for the merges under way: they are part of what the writes cost."""
    merging = "SELECT count() FROM system.merges"
    wait_for(lambda: system.value(merging) == 0, "the merges to end", timeout_seconds=1200)


def fingerprint(system, database):
    """Return the number of events, and a checksum of each log, which knows nothing of offsets."""
    checksums = {"events": system.value(f"SELECT count() FROM {database}.events FINAL")}
    if database == DATABASE:
        for log in projections():
            checksums[log] = system.value(f"SELECT sum(sipHash64(tuple(*))) FROM {DATABASE}.{log}")
    return checksums


def same_rows(rounds):
    """Raise `BenchmarkError` unless all systems and rounds gave the same events and logs."""
    for what in ("events", *projections()):
        checksums = {
            (name, number): one[what] for name, ones in rounds.items()
            for number, one in enumerate(ones, 1) if what in one
        }  # fmt: skip
        if len(set(checksums.values())) > 1:
            raise BenchmarkError(f"the systems differ in {what}: {checksums}")
