"""`sendlog migrate` and `sendlog topics apply|check`: create what is missing."""

from __future__ import annotations

from itertools import chain
from typing import Annotated

import typer

from processor.cli.options import OptionError
from processor.clickhouse import client_of, target_of
from processor.kafka import topics
from processor.kafka.acls import MAILER_GROUP, acl_commands, apply_acls, component_rights
from processor.policy.topic_growth import grow, topics_to_grow
from processor.readdressing import readdress_all
from processor.settings import load
from projections.clickhouse.joining import join_history
from projections.clickhouse.migrate import migrate
from projections.clickhouse.retention import apply_retention
from projections.clickhouse.store import Store
from projections.tables.audit import TABLE as AUDIT
from projections.tables.raw_records import TABLE as RAW_RECORDS

topics_app = typer.Typer(help="The Kafka topics: make them, check them.", no_args_is_help=True)


def migrate_database() -> None:
    """Create what is missing in ClickHouse: database, tables, views, columns. Safe to repeat."""
    settings = load()
    client, target = client_of(settings, database=""), target_of(settings)
    unchanged = True
    steps = chain(
        migrate(client, target),
        apply_retention(client, target, RAW_RECORDS, settings.raw.days),
        apply_retention(client, target, AUDIT, settings.audit_days),
    )
    for line in steps:
        print(line, flush=True)
        unchanged = False
    joined = 0
    store = Store(lambda: client, target.database)
    for count in join_history(client, target.database, store.insert):
        joined += count
        print(f"{joined:,} events are joined to their messages", flush=True)
        unchanged = False
    if replaced := sum(1 for _ in readdress_all(client, target, settings)):
        print(f"{replaced:,} addresses have their normal form now")
    elif unchanged:
        print("nothing to do: the database is as declared")


@topics_app.command("apply")
def apply_topics() -> None:
    """Create the topics that are missing; existing ones are left as they are."""
    created = topics.create_missing_topics(load().kafka)
    for name in created:
        print(f"created {name}")
    if not created:
        print("nothing to do: all topics are there")


@topics_app.command("check")
def print_topics_check() -> None:
    """Say which topics are missing, and which settings are wrong; exit code 1 if there are any."""
    kafka = load().kafka
    reads, problems = topics.check_topics(kafka)
    problems += topics.config_problems(kafka)
    for line in problems or [f"all topics are there; the worker reads {', '.join(reads)}"]:
        print(line)
    raise typer.Exit(1 if problems else 0)


@topics_app.command("acls")
def give_rights(
    apply: Annotated[
        bool, typer.Option("--apply/--print", help="Give the rights, or only print how.")
    ] = False,
    principal: Annotated[
        list[str] | None,
        typer.Option(help="COMPONENT=PRINCIPAL; by default worker=User:sendlog-worker, and so on."),
    ] = None,
    mailer_group: Annotated[str, typer.Option(help="The mailer's consumer group.")] = MAILER_GROUP,
) -> None:
    """Give each part of Sendlog the rights that it needs on a broker that denies by default.

    The parts are worker, gateway, api, mailer, mailer-NAME for each with topics of its own, and
    operator, who runs commands like this one. Prints commands for Kafka's own tool, kafka-acls.sh.
    Safe to repeat; takes no right away.
    """
    kafka = load().kafka
    of_component = component_rights(kafka, mailer_group)
    names = {component: f"User:sendlog-{component}" for component in of_component}
    for option in principal or ():
        component, _, name = option.partition("=")
        if component not in names or not name:
            raise OptionError(f"--principal takes one of {', '.join(names)}, as worker=User:me")
        names[component] = name
    rights = [(names[component], right) for component in names for right in of_component[component]]
    if apply:
        apply_acls(kafka, rights)
        print("\n".join(f"{part}: {name} has its rights" for part, name in names.items()))
    else:
        print("\n".join(acl_commands(kafka, rights)))


@topics_app.command("grow")
def grow_topics(
    topic: Annotated[str, typer.Argument(help="A topic, or all.")],
    partitions: Annotated[int, typer.Argument(min=1, max=1000, help="How many it gets.")],
) -> None:
    """Give topics more partitions, and move what belongs elsewhere then. Stop the workers first.

    What the policy keeps of an address is in a partition by its name: never let Kafka's own tools
    add partitions to delivery.policy. If they did, this mends it. Safe to repeat.
    """
    kafka = load().kafka
    for line in grow(kafka, topics_to_grow(kafka, topic), partitions):
        print(line)
