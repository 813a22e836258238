"""What can go wrong, one function per kind of fault.

A fault is a generator of one step: it begins, yields while it lasts, and ends. It gets the stage
and dice that follow from the seed. `poison.py` has what goes wrong in records.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import NamedTuple

from tests.faults import proxy
from tests.faults.stage import pause, resume
from tests.system import DATABASE, wait_for


class Fault(NamedTuple):
    """A kind of fault.

    `weight` is how often it is drawn, `seconds` how long it lasts, at least and at most. Two faults
    happen at once only if their `parts` are different ones; servers in `needs` have to be up.
    """

    name: str
    act: Callable
    weight: int
    seconds: tuple[float, float]
    parts: frozenset[str]
    needs: frozenset[str]

    def excludes(self, other):
        own, others = self.parts | self.needs, other.parts | other.needs
        return bool(self.parts & others or other.parts & own)


FAULTS = {}
HOUR_SECONDS = 3600
MAX_JUMP_SECONDS = 72 * HOUR_SECONDS
LOGS = ("email_log", "sms_log")
UNDER_WAY = (
    "SELECT (SELECT count() FROM system.merges) + "
    "(SELECT count() FROM system.processes WHERE query_kind = 'Insert')"
)


def fault(name, *, weight=1, seconds=(0.0, 0.0), parts=(), needs=()):
    """Register a kind of fault."""

    def register(act):
        parts_, needs_ = frozenset(parts), frozenset(needs)
        FAULTS[name] = Fault(name, contextmanager(act), weight, seconds, parts_, needs_)
        return act

    return register


# ---- Workers ----


@fault("worker killed", weight=6, seconds=(0, 2), parts=["worker"])
def worker_killed(stage, dice):
    slot = dice.choice(stage.crew.slots)
    stage.crew.held.add(slot)
    stage.crew.kill(slot)
    yield
    stage.crew.held.discard(slot)


@fault("all workers killed", weight=2, seconds=(0, 1), parts=["worker"])
def all_workers_killed(stage, dice):
    stage.crew.held.update(stage.crew.slots)
    for slot in stage.crew.slots:
        stage.crew.kill(slot)
    yield
    stage.crew.held.clear()


@fault("worker stopped in order", weight=3, seconds=(0, 3), parts=["worker"])
def worker_stopped(stage, dice):
    slot = dice.choice(stage.crew.slots)
    stage.crew.held.add(slot)
    stage.crew.stop(slot)
    yield
    stage.crew.held.discard(slot)


def _paused(stage, dice):
    worker = stage.crew.workers.get(dice.choice(stage.crew.slots))
    if worker:
        pause(worker)
    yield
    if worker:
        resume(worker)


fault("worker paused", weight=6, seconds=(0.3, 4), parts=["worker"])(_paused)
# Longer than a session lasts: others take its partitions over before it goes on.
fault("worker paused beyond its session", weight=2, seconds=(11, 14), parts=["worker"])(_paused)


def _clock_set(sign):
    def set_clock(stage, dice):
        clock = stage.crew.clock(dice.choice(stage.crew.slots))
        clock.write_text(str(sign * dice.choice([HOUR_SECONDS, dice.uniform(1, MAX_JUMP_SECONDS)])))
        yield
        clock.unlink()

    return set_clock


fault("a worker's clock jumps ahead", weight=2, seconds=(0.5, 8), parts=["clock"])(_clock_set(1))
fault("a worker's clock jumps back", weight=2, seconds=(0.5, 8), parts=["clock"])(_clock_set(-1))


# ---- Servers ----


@fault("database killed", weight=4, seconds=(0, 3), parts=["database"])
def database_killed(stage, dice):
    stage.engine.kill()
    yield
    stage.engine.start()


@fault("database paused", weight=5, seconds=(0.5, 5), parts=["database"])
def database_paused(stage, dice):
    pause(stage.engine)
    yield
    resume(stage.engine)


@fault("broker killed", weight=2, seconds=(0, 2), parts=["broker"])
def broker_killed(stage, dice):
    stage.broker.kill()
    yield
    stage.broker.start()


@fault("broker paused", weight=4, seconds=(0.5, 6), parts=["broker"])
def broker_paused(stage, dice):
    pause(stage.broker)
    yield
    resume(stage.broker)


# ---- Links ----


def _link(link, mode):
    def spoil(stage, dice):
        way = getattr(stage, link)
        way.set(mode)
        yield
        way.set(proxy.PASS)

    return spoil


for _name, _mode in (
    ("database refuses connections", proxy.REFUSE),
    ("database does not answer", proxy.HANG),
    ("database answers slowly", proxy.SLOW),
    ("answers to inserts are lost", proxy.LOSE_ANSWERS),
    ("answers of the database are cut", proxy.TRUNCATE),
    ("database answers 503", proxy.UNAVAILABLE_MODE),
    ("database has no memory for inserts", proxy.STARVE),
):
    fault(_name, weight=5, seconds=(0.5, 5), parts=["database link"])(_link("database_link", _mode))
for _name, _mode in (
    ("worker cut off from the broker", proxy.REFUSE),
    ("broker does not answer a worker", proxy.HANG),
    ("broker answers a worker slowly", proxy.SLOW),
):
    fault(_name, weight=3, seconds=(0.5, 6), parts=["broker link"])(_link("broker_link", _mode))
fault("worker cut off beyond its session", weight=1, seconds=(11, 14), parts=["broker link"])(
    _link("broker_link", proxy.HANG)
)


# ---- What a database refuses ----


def _events_setting(name, value):
    def change(stage, dice):
        stage.client.command(f"ALTER TABLE {DATABASE}.events MODIFY SETTING {name} = {value}")
        yield
        stage.client.command(f"ALTER TABLE {DATABASE}.events RESET SETTING {name}")

    return change


@fault("disk is full", weight=3, seconds=(0.5, 5), parts=["database", "database link"])
def disk_full(stage, dice):
    # Of what is being written as the disk becomes full ClickHouse keeps parts that it cannot read.
    stage.database_link.set(proxy.REFUSE)
    stage.client.command("SYSTEM STOP MERGES")
    wait_for(lambda: not stage.value(UNDER_WAY), "merges and inserts to end")
    if stage.disk:
        stage.disk.fill()
    stage.database_link.set(proxy.PASS)
    yield
    if stage.disk:
        stage.disk.empty()
    stage.client.command("SYSTEM START MERGES")


fault("disk has too little room", weight=3, seconds=(0.5, 5), parts=["database"])(
    _events_setting("min_free_disk_bytes_to_perform_insert", 1 << 60)
)
fault("too many parts", weight=3, seconds=(0.5, 5), parts=["database"])(
    _events_setting("parts_to_throw_insert", 1)
)


@fault("a view throws", weight=1, seconds=(0.5, 2), parts=["database", "worker"])
def view_throws(stage, dice):
    view = f"{DATABASE}.thrower"
    stage.client.command(
        f"CREATE MATERIALIZED VIEW {view} (x UInt8) ENGINE = Null AS "
        f"SELECT throwIf(1, 'a view that throws')::UInt8 AS x FROM {DATABASE}.events"
    )
    yield
    stage.client.command(f"DROP TABLE {view} SYNC")


@fault("a log is rebuilt", weight=2, seconds=(0, 1), parts=["database"])
def log_rebuilt(stage, dice):
    stage.command("rebuild", dice.choice(LOGS), "--take-over")
    yield


@fault("a rebuild is killed", weight=2, seconds=(1, 4), parts=["database"])
def rebuild_killed(stage, dice):
    rebuild = stage.start_command("rebuild", dice.choice(LOGS), "--take-over")
    yield
    rebuild.kill()


# ---- Topics ----


@fault("a feed's topic is made", weight=1, needs=["broker"])
def topic_made(stage, dice):
    stage.poison.junk(stage.create_feed(), 20)
    yield
