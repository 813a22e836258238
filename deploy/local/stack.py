"""The local stack behind `sendlog up`: one broker, one database, workers and a demo."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final

from deploy.local import broker, database
from deploy.local.accounts import ANALYST, kept_password
from deploy.local.addresses import Address, broker_address, database_address, refusal
from deploy.local.console import Console
from deploy.local.parts import PROCESSOR, api_address, key_file, parts, serves
from deploy.local.process import POLL, LocalError
from deploy.local.supervisor import PartError, Supervisor
from processor.connection_settings import DEFAULT_USER
from processor.kafka import topics
from processor.settings import (
    COMMANDS_SECRET,
    LOCAL_USER,
    local_password_file,
    with_command_secret,
    with_login,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from processor.settings import Settings

#: What a stack notes about itself while it runs, in its data folder.
_STATE: Final = "stack.json"
#: Seconds for the ports of a stack that was killed to become free.
_LEFTOVER: Final = 10.0


def up(
    settings: Settings,
    *,
    workers: int = 1,
    demo: Sequence[str] | None = None,
    processor: Sequence[str] = PROCESSOR,
) -> int:
    """Run the stack until Ctrl-C or TERM, and return the exit code.

    0: stopped as asked; 1: a part failed; 2: it cannot start as things are. `demo` has the options
    of the demo feed, or is None for none. When all is up, a line `ready` goes to standard output.
    """
    # Until the supervisor takes over, TERM has to end a step under way like Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _own(settings.data_dir, workers=workers) as wait:
            _check_addresses(settings, patience=_LEFTOVER if wait else 0)
            settings = _with_command_secret(_with_password(settings))
            programs = parts(settings, workers=workers, demo=demo, processor=processor)
            console = Console(sys.stderr, [program.name for program in programs])

            def greet() -> None:
                sys.stdout.write("ready\n")
                sys.stdout.flush()
                console.plain(_greeting(settings, demo=demo is not None, workers=workers))

            asyncio.run(Supervisor(console).run(programs, greet))
    except LocalError as error:
        _say(str(error))
        return 2
    except PartError as error:
        _say(f"{error}; everything has been stopped")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def check(settings: Settings) -> int:
    """Say whether the stack of these settings is up: 0 if it is, else 1 and what is missing."""
    missing = []
    found = broker.topics(settings.kafka.bootstrap)
    if found is None:
        missing.append(f"the broker does not answer at {settings.kafka.bootstrap}")
    elif absent := sorted({topic.name for topic in topics.declared_topics(settings.kafka)} - found):
        missing.append(f"the broker has no topic {', '.join(absent)}")
    if not database.answers(settings.clickhouse.url):
        missing.append(f"ClickHouse does not answer at {settings.clickhouse.url}")
    if not serves(settings):
        missing.append(f"the API does not answer at http://{api_address(settings)}")
    if (wanted := _state(settings.data_dir).get("workers", 0)) and found is not None:
        members = broker.group_members(settings.kafka.bootstrap, settings.kafka.group)
        if members < wanted:
            group = settings.kafka.group
            missing.append(f"the consumer group {group} has {members} of {wanted} workers")
    for line in missing:
        _say(line)
    return 1 if missing else 0


@contextmanager
def _own(data: Path, *, workers: int) -> Iterator[bool]:
    """Keep the data folder for this stack alone. Says whether the last one was not stopped."""
    advice = "or set SENDLOG_DATA_DIR to another folder"
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock: IO[str] = (data / "stack.lock").open("w")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise LocalError(
            f"the data folder {data} cannot be used ({reason}): make it writable, {advice}"
        ) from None
    with lock:
        before = _state(data)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            by = f"process {before['pid']}" if before else "another process"
            raise LocalError(
                f"a stack runs already on the data folder {data} ({by}): stop that, {advice}"
            ) from None
        state = data / _STATE
        state.write_text(json.dumps({"pid": os.getpid(), "workers": workers}) + "\n")
        try:
            yield bool(before)
        finally:
            state.unlink()


def _say(text: str) -> None:
    sys.stderr.write(f"sendlog up: {text}\n")


def _state(data: Path) -> dict[str, int]:
    try:
        return dict(json.loads((data / _STATE).read_text()))
    except (OSError, ValueError):
        return {}


def _with_password(settings: Settings) -> Settings:
    """Return the settings with a user of ClickHouse, whose password is made at the first start."""
    clickhouse = settings.clickhouse
    if clickhouse.user != DEFAULT_USER:
        return settings
    if clickhouse.password.get_secret_value():
        raise LocalError(
            "SENDLOG_CLICKHOUSE__PASSWORD is set without SENDLOG_CLICKHOUSE__USER: the local stack"
            " has a user 'default' of its own, so set both or none"
        )
    return with_login(settings, LOCAL_USER, kept_password(settings.data_dir, LOCAL_USER))


def _with_command_secret(settings: Settings) -> Settings:
    """Return the settings with a secret for commands, which is made at the first start."""
    if settings.kafka.command_secret.get_secret_value():
        return settings
    return with_command_secret(settings, kept_password(settings.data_dir, COMMANDS_SECRET))


def _check_addresses(settings: Settings, *, patience: float) -> None:
    wanted: dict[str, Address] = {
        "SENDLOG_KAFKA__BOOTSTRAP": broker_address(settings.kafka.bootstrap),
        "SENDLOG_CLICKHOUSE__URL": database_address(settings.clickhouse.url),
        "SENDLOG_API__PORT": api_address(settings),
    }
    deadline = time.monotonic() + patience
    for variable, address in wanted.items():
        while reason := refusal(address, variable):
            if time.monotonic() > deadline:
                raise LocalError(reason)
            time.sleep(POLL)


def _key(settings: Settings) -> str:
    file = key_file(settings.data_dir)
    try:
        return f"{file.read_text().strip()} (kept in {file})"
    except OSError as error:
        return f"the key in {file}: {error.strerror}"


def _greeting(settings: Settings, *, demo: bool, workers: int) -> str:
    feed = "the demo feed is running" if demo else "start with --demo for a feed to look at"
    return f"""
  Sendlog is up: {workers} worker{"" if workers == 1 else "s"}, {feed}.

    web pages    http://{api_address(settings)}/overview/email?tenant=demo
    sign in with {_key(settings)}
    Kafka        {settings.kafka.bootstrap}
    ClickHouse   {settings.clickhouse.url} (database {settings.clickhouse.database})
    log in as    {ANALYST}, who reads; password in {local_password_file(settings.data_dir, ANALYST)}
    data folder  {settings.data_dir.resolve()}

  In another terminal, with the same settings:

    sendlog log email --tenant demo
    sendlog log sms --tenant demo
    sendlog explain MESSAGE_ID RECIPIENT --tenant demo
    sendlog retries list --tenant demo
    sendlog suppressions list --tenant demo

  Ctrl-C stops everything and keeps the data.
"""
