"""`sendlog keys create|list|rotate|revoke|embed-secret`: the keys of the HTTP API."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from processor.cli.rows import RowFormat, print_rows
from processor.cli.suppression_options import actor_of
from processor.clickhouse import client_of
from processor.settings import load
from projections.queries import api_keys
from projections.queries.api_keys import ApiKey
from projections.queries.audit import store_key_line
from projections.queries.listing import QueryError
from projections.queries.roles import Scope
from projections.queries.saved_views import copy_views
from projections.web.embed_tokens import EmbedTokens

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

app = typer.Typer(help="Keys of the HTTP API.", no_args_is_help=True)
_COLUMNS = ("id", "name", "tenants", "role", "scopes", "created_at", "revoked_at", "expires_at")
MAX_NAME_CHARACTERS = 256
#: To give the new key to all who have the old one.
DEFAULT_OVERLAP_DAYS = 7.0
MAX_TENANT_CHARACTERS = 512


class RoleName(StrEnum):
    """The roles, as an option."""

    SUPPORT = "support"
    MANAGER = "manager"
    ANALYST = "analyst"
    ADMIN = "admin"


class ScopeName(StrEnum):
    """The scopes, as an option."""

    READ = "read"
    RESET = "reset"
    ADMIN = "admin"


@app.command("create")
def create_key(
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
            "admin (the audit log; with all tenants dead letters, too); can be repeated."
        ),
    ] = None,
    role: Annotated[
        RoleName | None,
        typer.Option(
            help="Instead of scopes: support (read, reset), analyst (read, export), manager (both, "
            "and many resets), admin (everything)."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="Write it to this file rather than print it. If the file has a valid key "
            "already, that is kept; an earlier key of the name is revoked."
        ),
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="It expires after these; without: never.")
    ] = None,
) -> None:
    """Make a key and print it: it is shown this once, and only its hash is kept."""
    settings = load()
    client, database = client_of(settings), settings.clickhouse.database
    name = name.strip()
    _check_names(name, tenant)
    valid_keys = _valid_keys(client, database)
    earlier_keys = [key for key in valid_keys if key.name == name]
    if file is None and earlier_keys:
        raise QueryError(f"there is a key {name!r} already; choose another name, or revoke it")
    if file is not None and _has_valid_key(file, valid_keys):
        return
    if role and scope:
        raise QueryError("a key has a role or scopes; leave out --scope or --role")
    scopes: list[Scope] = [] if role else [option.value for option in scope or [ScopeName.READ]]
    key, secret = api_keys.new_key(name, tenant, scopes, role.value if role else "")
    if days is not None:
        key = replace(key, expires_at=key.created_at + timedelta(days=days))
    if file is not None:
        # Written before it is valid: after a crash in between, the next call makes a new key.
        _write_secret(file, secret)
    store_key_line(client, database, key, _operator(), "key_create")
    api_keys.store_key(client, database, key)
    for earlier_key in earlier_keys:
        store_key_line(client, database, earlier_key, _operator(), "key_revoke")
        api_keys.store_revocation(client, database, earlier_key)
    Console(stderr=True).print(
        f"key {key.id} for {', '.join(key.tenants)}: {key.role or ', '.join(key.scopes)}; "
        "keep it well, it is not shown again",
        markup=False,
    )
    if file is None:
        print(secret)


def _check_names(name: str, tenants: list[str]) -> None:
    if not 0 < len(name) <= MAX_NAME_CHARACTERS:
        raise QueryError("a key's name has 1 to 256 characters")
    if any(not 0 < len(tenant) <= MAX_TENANT_CHARACTERS for tenant in tenants):
        raise QueryError("a tenant's name has 1 to 512 characters")


def _has_valid_key(file: Path, valid_keys: list[ApiKey]) -> bool:
    """Tell whether a file has a valid key."""
    if not file.exists():
        return False
    key_hash = api_keys.hash_secret(file.read_text().strip())
    return any(key.hash == key_hash for key in valid_keys)


def _write_secret(file: Path, secret: str) -> None:
    """Write a secret to a new file that only its owner can read."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(f"{secret}\n")


@app.command("list")
def print_keys(
    form: Annotated[RowFormat, typer.Option("--format", help="For people or programs.")] = (
        RowFormat.TABLE
    ),
) -> None:
    """List the keys, the newest first, also the revoked ones."""
    settings = load()
    keys = api_keys.list_keys(client_of(settings), settings.clickhouse.database)
    rows = ({name: _to_row_value(getattr(key, name)) for name in _COLUMNS} for key in keys)
    print_rows(rows, form, columns=list(_COLUMNS), table_columns=_COLUMNS)


@app.command("rotate")
def rotate_key(
    key: Annotated[str, typer.Argument(help="Its id, or its name.")],
    overlap: Annotated[
        float, typer.Option(min=0, max=3650, help="Days for which the earlier one is good, too.")
    ] = DEFAULT_OVERLAP_DAYS,
) -> None:
    """Make a key for the same, and print it; the earlier one expires after the overlap.

    It has the saved views of the earlier one. Frames and embed secrets go with a key's id: theirs
    have to be made anew.
    """
    settings = load()
    client, database = client_of(settings), settings.clickhouse.database
    valid_key = _valid_key(client, database, key)
    store_key_line(client, database, valid_key, _operator(), "key_rotate")
    fresh, secret = api_keys.store_rotation(client, database, valid_key, timedelta(days=overlap))
    Console(stderr=True).print(
        f"key {fresh.id} in place of {valid_key.id}, which is good for {overlap:g} days more",
        markup=False,
    )
    print(secret)
    copy_views(client, database, valid_key.id, fresh.id)


@app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="Its id, or its name.")],
) -> None:
    """Revoke a key for good; the API refuses it within five seconds."""
    settings = load()
    client, database = client_of(settings), settings.clickhouse.database
    valid_key = _valid_key(client, database, key)
    store_key_line(client, database, valid_key, _operator(), "key_revoke")
    api_keys.store_revocation(client, database, valid_key)
    print(f"revoked key {valid_key.id} ({valid_key.name})")


@app.command("embed-secret")
def print_embed_secret(
    key: Annotated[str, typer.Argument(help="Its id, or its name.")],
) -> None:
    """Print what a host application signs its embed tokens with, for this key.

    It follows from the key's id and the setting SENDLOG_API__EMBED_SECRET, and is stored nowhere.
    """
    settings = load()
    secret = settings.api.embed_secret.get_secret_value().encode()
    if not secret:
        raise QueryError("SENDLOG_API__EMBED_SECRET is not set; set it for this and for the API")
    client, database = client_of(settings), settings.clickhouse.database
    valid_key = _valid_key(client, database, key)
    store_key_line(client, database, valid_key, _operator(), "embed_secret")
    Console(stderr=True).print(f"kid {valid_key.id}, for {valid_key.name}", markup=False)
    print(EmbedTokens(secret).secret_of(valid_key.id))


def _operator() -> str:
    """Return who runs the command, as the system knows them; a container may know nobody."""
    try:
        return actor_of("")
    except QueryError:
        return "command line"


def _valid_keys(client: Client, database: str) -> list[ApiKey]:
    now = datetime.now(UTC)
    return [key for key in api_keys.list_keys(client, database) if key.is_valid(now)]


def _valid_key(client: Client, database: str, id_or_name: str) -> ApiKey:
    keys = [key for key in _valid_keys(client, database) if id_or_name in (key.id, key.name)]
    if len(keys) != 1:
        subject = "no valid key" if not keys else "several keys"
        raise QueryError(f"{subject} {id_or_name!r}; sendlog keys list shows their ids")
    return keys[0]


def _to_row_value(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
