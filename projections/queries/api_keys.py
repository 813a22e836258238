"""API keys: create, list, revoke, and find by the secret that a request carries.

A secret is `sk_` and 32 random bytes. With so much randomness SHA-256 is enough; a slow hash would
only cost time at every request.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Final, Literal, cast

import pyarrow as pa

from projections.clickhouse.sql import stream
from projections.clickhouse.store import arrow_schema, insert_rows
from projections.queries.roles import ALL_TENANTS, SCOPES, Role, Scope, role_scopes, with_implied
from projections.tables.api_keys import TABLE
from schemas.words import Words

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

KEY_PREFIX: Final = "sk_"
#: For this long a revoked key may still be accepted.
CACHE_SECONDS: Final = 3.0
#: An unknown secret may be of a new key, so the keys are read again, but not at every request.
_UNKNOWN_KEY_CACHE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is stored; `tenants` are those it may access, ("*",) for all.

    With a `role` it may do what the role may in this version, else what its `scopes` say.
    """

    id: str
    name: str
    hash: str = field(repr=False)
    tenants: tuple[str, ...]
    scopes: tuple[Scope, ...]
    created_at: datetime
    revoked_at: datetime | None = None
    expires_at: datetime | None = None
    role: str = ""

    #: How refusals call it.
    noun: ClassVar[str] = Words("this key")

    @property
    def granted(self) -> frozenset[Scope]:
        """The scopes that it has, in each of its tenants."""
        return role_scopes(self.role) if self.role else with_implied(self.scopes)

    def granted_in(self, tenant: str) -> frozenset[Scope]:
        """Return the scopes that it has in a tenant."""
        return self.granted if self.may_access(tenant) else frozenset()

    @property
    def for_all_tenants(self) -> bool:
        """Whether it may access all tenants."""
        return ALL_TENANTS in self.tenants

    def is_valid(self, now: datetime) -> bool:
        """Return whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def may_access(self, tenant: str) -> bool:
        """Return whether it may access a tenant's data."""
        return self.for_all_tenants or tenant in self.tenants


def hash_secret(secret: str) -> str:
    """Return the hash of a secret, which is all that is stored of it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(
    name: str, tenants: Sequence[str], scopes: Sequence[Scope], role: Role | Literal[""] = ""
) -> tuple[ApiKey, str]:
    """Return a new key, not stored yet, and its secret, which cannot be recovered later.

    It has either scopes or a role.
    """
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        id=uuid.uuid4().hex[:12],
        name=name,
        hash=hash_secret(secret),
        tenants=(ALL_TENANTS,) if ALL_TENANTS in tenants else tuple(sorted(set(tenants))),
        scopes=tuple(scope for scope in SCOPES if scope in scopes),
        created_at=datetime.now(UTC),
        role=role,
    )
    return key, secret


def store_key(client: Client, database: str, key: ApiKey) -> None:
    """Store a key, or a change of it. Raises as `projections.clickhouse.store.insert_rows` does."""
    row = {name: getattr(key, name) for name in TABLE.columns}
    insert_rows(client, database, TABLE, pa.Table.from_pylist([row], schema=arrow_schema(TABLE)))


def store_revocation(client: Client, database: str, key: ApiKey) -> ApiKey:
    """Revoke a key for good and return it with its `revoked_at`. Raises as `store_key` does."""
    revoked = replace(key, revoked_at=datetime.now(UTC))
    store_key(client, database, revoked)
    return revoked


def store_rotation(
    client: Client, database: str, key: ApiKey, overlap: timedelta
) -> tuple[ApiKey, str]:
    """Store a key like another one, which expires after the overlap if it does not before.

    Return it and its secret. Raises as `store_key` does; then the earlier one is as it was.
    """
    fresh, secret = new_key(key.name, key.tenants, key.scopes)
    fresh = replace(fresh, role=key.role)
    store_key(client, database, fresh)
    ends_at = datetime.now(UTC) + overlap
    store_key(client, database, replace(key, expires_at=min(key.expires_at or ends_at, ends_at)))
    return fresh, secret


def list_keys(client: Client, database: str) -> list[ApiKey]:
    """Return all keys, also revoked ones, the newest first. Raises ClickHouse's errors."""
    sql = (
        f"SELECT {', '.join(TABLE.columns)} FROM {database}.{TABLE.name} FINAL "
        "ORDER BY created_at DESC, id"
    )
    return [
        ApiKey(**{
            **row,
            "tenants": tuple(row["tenants"]),
            "scopes": cast("tuple[Scope, ...]", tuple(row["scopes"])),
        })
        for row in stream(client, sql, {})
    ]  # fmt: skip


class KeyCache:
    """The keys that are valid now, at most `CACHE_SECONDS` old. Used from many threads.

    `load` reads all keys; `clock` gives seconds.
    """

    def __init__(
        self, load: Callable[[], Sequence[ApiKey]], clock: Callable[[], float] = monotonic
    ) -> None:
        self._load = load
        self._clock = clock
        self._lock = Lock()
        self._valid_keys: dict[str, ApiKey] = {}
        self._loaded_at = float("-inf")

    def cached(self, secret: str) -> ApiKey | None:
        """Return the key of a secret without a query; None if it is unknown or the cache is old."""
        return None if self._age() > CACHE_SECONDS else self._valid_key(secret)

    def find(self, secret: str) -> ApiKey | None:
        """Return the valid key of a secret, or None. Raises as `load` does."""
        key = self.cached(secret)
        if key is None:
            self._refresh(_UNKNOWN_KEY_CACHE_SECONDS)
            # However long reading them took: a key that was valid then is not taken for revoked.
            key = self._valid_key(secret)
        return key

    def find_by_id(self, key_id: str) -> ApiKey | None:
        """Return the valid key of an id, or None. Raises as `load` does."""
        if self._age() > CACHE_SECONDS:
            self._refresh(CACHE_SECONDS)
        return next((key for key in self._valid_keys.values() if key.id == key_id), None)

    def _valid_key(self, secret: str) -> ApiKey | None:
        secret_hash = hash_secret(secret)
        key = self._valid_keys.get(secret_hash)
        return key if key is not None and hmac.compare_digest(key.hash, secret_hash) else None

    def _age(self) -> float:
        return self._clock() - self._loaded_at

    def _refresh(self, max_age_seconds: float) -> None:
        with self._lock:  # one thread reads for all that wait
            if self._age() > max_age_seconds:
                started_at = self._clock()
                keys = self._load()
                now = datetime.now(UTC)
                self._valid_keys = {key.hash: key for key in keys if key.is_valid(now)}
                self._loaded_at = started_at
