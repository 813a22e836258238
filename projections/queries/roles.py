"""Scopes, what each lets its holder do, and roles: named sets of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

Scope = Literal["read", "export", "reset", "bulk_reset", "admin"]
Role = Literal["support", "manager", "analyst", "admin"]

#: As a tenant: whichever.
ALL_TENANTS: Final = "*"
#: What a scope lets its holder do, in words.
SCOPES: Final[Mapping[Scope, str]] = {
    "read": "see the logs, messages, records, addresses, the blacklist and counts",
    "export": "download a log as a file",
    "reset": "reset an address, and blacklist one by hand",
    "bulk_reset": "reset many addresses at once",
    "admin": "see dead letters, if for all tenants",
}
#: Who looks up and helps; who also decides for many; who counts; who may do everything.
ROLES: Final[Mapping[Role, frozenset[Scope]]] = {
    "support": frozenset({"read", "reset"}),
    "manager": frozenset({"read", "export", "reset", "bulk_reset"}),
    "analyst": frozenset({"read", "export"}),
    "admin": frozenset(SCOPES),
}
#: What a scope of a key has with it. Roles are finer: theirs are as they stand.
_IMPLIED: Final[Mapping[Scope, frozenset[Scope]]] = {
    "read": frozenset({"export"}),
    "reset": frozenset({"bulk_reset"}),
}


def with_implied(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """Return the scopes of a key that was made with these, and no role."""
    scopes = frozenset(scopes)
    return scopes.union(*(_IMPLIED.get(scope, frozenset()) for scope in scopes))


def role_scopes(role: str) -> frozenset[Scope]:
    """Return what a role may do; nothing if this version has no such role."""
    return next((scopes for name, scopes in ROLES.items() if name == role), frozenset())
