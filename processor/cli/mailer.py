"""`sendlog mailer`: run the reference mailer of the demo."""

from __future__ import annotations

from typing import Annotated

import typer

from processor.cli.demo import stop_on_signals
from processor.demo.mailer_loop import run_reference_mailer
from processor.demo.scenes import demo_scenes
from processor.settings import load


def run_mailer(
    tenant: Annotated[str, typer.Option(help="Whose retries it makes.")] = "demo",
    play: Annotated[
        bool, typer.Option("--scenes/--no-scenes", help="Play four scenes to watch.")
    ] = True,
) -> None:
    """Be a mailer that makes the retries it is asked for and keeps a copy of the blacklist.

    It pretends the providers' answers. Four scenes with messages of its own show a soft bounce
    that is retried and delivered, one that is given up, an address that is blacklisted, refused,
    reset and delivered to again, and a message that somebody has sent again; they are told in the
    log, and end in

        sendlog log email --tenant demo --where message_id~scene

    `sendlog up --demo` runs it. Ctrl-C stops it.
    """
    run_reference_mailer(
        load().kafka, tenant, demo_scenes(tenant) if play else (), stop_on_signals()
    )
