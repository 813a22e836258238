"""`sendlog keys create|list|revoke`: who may use the HTTP API."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from processor.cli.logs import Format, print_rows
from processor.clickhouse import client_of
from processor.settings import load
from projections.queries import api_keys
from projections.queries.api_keys import Key, Scope
from projections.queries.listing import QueryError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

app = typer.Typer(help="Keys of the HTTP API.", no_args_is_help=True)
_COLUMNS = ("id", "name", "tenants", "scopes", "created_at", "revoked_at")


class ScopeName(StrEnum):
    """The scopes, as an option."""

    READ = "read"
    RESET = "reset"
    ADMIN = "admin"


@app.command()
def create(
    name: Annotated[
        str, typer.Argument(help="Who uses it; stands in the history of what it changes.")
    ],
    tenant: Annotated[
        list[str], typer.Option(help="A tenant it may ask about; can be repeated; * for all.")
    ],
    scope: Annotated[
        list[ScopeName] | None,
        typer.Option(
            help="read (the default), reset (change the blacklist), "
            "admin (dead letters; with all tenants); can be repeated."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="Write it to this file rather than print it. If the file has a valid key "
            "already, that is kept; an earlier key of the name is revoked."
        ),
    ] = None,
) -> None:
    """Make a key and print it: it is shown this once, and only its hash is kept."""
    settings = load()
    client, database = client_of(settings), settings.clickhouse.database
    name = name.strip()
    if not 0 < len(name) <= 256:
        raise QueryError("a key's name has 1 to 256 characters")
    if any(not 0 < len(each) <= 512 for each in tenant):
        raise QueryError("a tenant's name has 1 to 512 characters")
    valid = [key for key in api_keys.listed(client, database) if key.revoked_at is None]
    before = [key for key in valid if key.name == name]
    if file is None and before:
        raise QueryError(f"there is a key {name!r} already; choose another name, or revoke it")
    if file is not None and _holds(file, valid):
        return
    scopes: list[Scope] = [each.value for each in scope or [ScopeName.READ]]
    key, secret = api_keys.make(name, tenant, scopes)
    if file is not None:
        # Written before it is valid: what a crash leaves is a file whose key is made anew.
        _write(file, secret)
    api_keys.store(client, database, key)
    for each in before:
        api_keys.revoke(client, database, each)
    Console(stderr=True).print(
        f"key {key.id} for {', '.join(key.tenants)}: {', '.join(key.scopes)}; keep it well, "
        "it is not shown again",
        markup=False,
    )
    if file is None:
        print(secret)


def _holds(file: Path, valid: list[Key]) -> bool:
    """Tell whether a file has a valid key."""
    if not file.exists():
        return False
    found = api_keys.hashed(file.read_text().strip())
    return any(key.hash == found for key in valid)


def _write(file: Path, secret: str) -> None:
    """Write a secret that only the owner of the file can read."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(f"{secret}\n")


@app.command("list")
def list_(
    form: Annotated[Format, typer.Option("--format", help="For people or programs.")] = (
        Format.TABLE
    ),
) -> None:
    """List the keys, the newest first, also the revoked ones."""
    settings = load()
    found = api_keys.listed(client_of(settings), settings.clickhouse.database)
    rows = ({name: _plain(getattr(key, name)) for name in _COLUMNS} for key in found)
    print_rows(rows, form, columns=list(_COLUMNS), shown=_COLUMNS)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, or its name.")],
) -> None:
    """Revoke a key for good; the API refuses it within five seconds."""
    settings = load()
    client, database = client_of(settings), settings.clickhouse.database
    found = _one(client, database, key)
    api_keys.revoke(client, database, found)
    print(f"revoked key {found.id} ({found.name})")


def _one(client: Client, database: str, wanted: str) -> Key:
    found = [
        key for key in api_keys.listed(client, database)
        if wanted in (key.id, key.name) and key.revoked_at is None
    ]  # fmt: skip
    if len(found) != 1:
        what = "no valid key" if not found else "several keys"
        raise QueryError(f"{what} {wanted!r}; sendlog keys list shows their ids")
    return found[0]


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
