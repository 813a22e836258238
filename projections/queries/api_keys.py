"""API keys: made, listed, revoked, and found again by the hash of what a request carries.

A key is `sk_` and 32 random bytes; so much randomness needs no slow hash, SHA-256 is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal, cast

import pyarrow as pa

from projections.clickhouse.sql import stream
from projections.clickhouse.store import arrow_schema, insert
from projections.tables.api_keys import TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Scope = Literal["read", "reset", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "reset", "admin")
ALL: Final = "*"
PREFIX: Final = "sk_"
#: Seconds after which the keys are read anew: so long a revoked one may still be taken.
KEPT: Final = 3.0
#: An unknown key may be a new one: then they are read anew after this, but not at every request.
_RECENT: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key: `tenants` are those it may ask about, ("*",) all."""

    id: str
    name: str
    hash: str = field(repr=False)
    tenants: tuple[str, ...]
    scopes: tuple[Scope, ...]
    created_at: datetime
    revoked_at: datetime | None = None

    @property
    def everywhere(self) -> bool:
        """Tell whether it is for all tenants."""
        return ALL in self.tenants

    def may_ask(self, tenant: str) -> bool:
        """Tell whether it may ask about a tenant."""
        return self.everywhere or tenant in self.tenants


def hashed(secret: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def make(name: str, tenants: Sequence[str], scopes: Sequence[Scope]) -> tuple[Key, str]:
    """Return a new key, and the secret that nobody will see again. It is not stored yet."""
    secret = PREFIX + secrets.token_urlsafe(32)
    key = Key(
        id=uuid.uuid4().hex[:12],
        name=name,
        hash=hashed(secret),
        tenants=(ALL,) if ALL in tenants else tuple(sorted(set(tenants))),
        scopes=tuple(scope for scope in SCOPES if scope in scopes),
        created_at=datetime.now(UTC),
    )
    return key, secret


def store(client: Client, database: str, key: Key) -> None:
    """Keep a key, or a change of it. Raises as `projections.clickhouse.store.insert` does."""
    row = {name: getattr(key, name) for name in TABLE.columns}
    insert(client, database, TABLE, pa.Table.from_pylist([row], schema=arrow_schema(TABLE)))


def revoke(client: Client, database: str, key: Key) -> Key:
    """Revoke a key for good; return it as it is now. Raises as `store` does."""
    revoked = replace(key, revoked_at=datetime.now(UTC))
    store(client, database, revoked)
    return revoked


def listed(client: Client, database: str) -> list[Key]:
    """Return all keys, the newest first, also the revoked. Raises ClickHouse's errors."""
    sql = (
        f"SELECT {', '.join(TABLE.columns)} FROM {database}.{TABLE.name} FINAL "
        "ORDER BY created_at DESC, id"
    )
    return [
        Key(**{
            **row,
            "tenants": tuple(row["tenants"]),
            "scopes": cast("tuple[Scope, ...]", tuple(row["scopes"])),
        })
        for row in stream(client, sql, {})
    ]  # fmt: skip


class Keys:
    """The keys that are valid now, at most `KEPT` seconds old."""

    def __init__(
        self, load: Callable[[], Sequence[Key]], clock: Callable[[], float] = monotonic
    ) -> None:
        self._load = load
        self._clock = clock
        self._lock = Lock()
        self._valid: dict[str, Key] = {}
        self._read_at = float("-inf")

    def known(self, secret: str) -> Key | None:
        """Return the key without asking the database, or None if that may know better."""
        return self._find(secret, KEPT)

    def find(self, secret: str) -> Key | None:
        """Return the valid key of a secret, or None. Raises as `load` does."""
        found = self._find(secret, KEPT)
        if found is None:
            self._read(_RECENT)
            found = self._find(secret, KEPT)
        return found

    def named(self, id: str) -> Key | None:  # noqa: A002 as the key has it
        """Return the valid key of an id, or None. Raises as `load` does."""
        if self._clock() - self._read_at > KEPT:
            self._read(KEPT)
        return next((key for key in self._valid.values() if key.id == id), None)

    def _read(self, age: float) -> None:
        with self._lock:  # one reads for all who wait
            if self._clock() - self._read_at > age:
                began = self._clock()
                keys = self._load()
                self._valid = {key.hash: key for key in keys if key.revoked_at is None}
                self._read_at = began

    def _find(self, secret: str, age: float) -> Key | None:
        if self._clock() - self._read_at > age:
            return None
        wanted = hashed(secret)
        key = self._valid.get(wanted)
        return key if key is not None and hmac.compare_digest(key.hash, wanted) else None
