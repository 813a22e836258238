"""People whom an OpenID provider vouches for: who they are, and what their groups may do here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, ClassVar, Final, Literal, NamedTuple

from projections.queries.roles import ALL_TENANTS, Role, Scope, role_scopes
from schemas.words import Words

#: Of an actor in the contract of commands.
MAX_ACTOR_LENGTH: Final = 256
_MAX_NAME_LENGTH: Final = 100
#: Claims that hold addresses: they are believed only if the provider has verified them.
_EMAIL_CLAIM: Final = "email"

RefusedBecause = Literal[
    "cancelled", "begun_elsewhere", "provider_error", "provider_away", "token", "email_domain",
    "no_role", "too_many_groups",
]  # fmt: skip


class SignInRefusedError(Exception):
    """Somebody cannot sign in; `because` says why, and `details` for the log, without addresses."""

    def __init__(
        self, because: RefusedBecause, details: str = "", *, groups: Sequence[str] = ()
    ) -> None:
        super().__init__(details or because)
        self.because: RefusedBecause = because
        self.details = details
        self.groups = tuple(groups)


class GroupRole(NamedTuple):
    """What the people of a group are: in which tenant ("*": in all), and which role."""

    tenant: str
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who signed in; `groups` are those of their groups that have a role here."""

    issuer: str
    subject: str
    name: str
    email: str = ""
    groups: tuple[str, ...]

    @property
    def actor(self) -> str:
        """The person as the history names them: two of one name differ by their address."""
        is_named = self.email and self.email != self.name
        return (f"{self.name} ({self.email})" if is_named else self.name)[:MAX_ACTOR_LENGTH]

    @property
    def id(self) -> str:
        """An id that no other person and no key has."""
        subject = f"{self.issuer}\x00{self.subject}".encode("utf-8", "surrogatepass")
        return f"person:{blake2b(subject, digest_size=12).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRights:
    """A person, and their roles by tenant: what a key is for programs."""

    person: Person
    roles: Mapping[str, frozenset[Role]]

    #: How refusals call it.
    noun: ClassVar[str] = Words("your account")

    @property
    def id(self) -> str:
        """Whose requests are counted together."""
        return self.person.id

    @property
    def name(self) -> str:
        """Who they are, for people."""
        return self.person.actor

    @property
    def tenants(self) -> tuple[str, ...]:
        """The tenants in which they have a role; ("*",) if in all."""
        return (ALL_TENANTS,) if self.for_all_tenants else tuple(sorted(self.roles))

    @property
    def for_all_tenants(self) -> bool:
        """Whether they have a role in all tenants."""
        return ALL_TENANTS in self.roles

    @property
    def granted(self) -> frozenset[Scope]:
        """The scopes that they have in any tenant."""
        return frozenset[Scope]().union(*(self.granted_in(tenant) for tenant in self.roles))

    def granted_in(self, tenant: str) -> frozenset[Scope]:
        """Return the scopes that they have in a tenant; ALL_TENANTS: in every one."""
        roles = self.roles.get(tenant, frozenset()) | self.roles.get(ALL_TENANTS, frozenset())
        return frozenset[Scope]().union(*map(role_scopes, roles))

    def may_access(self, tenant: str) -> bool:
        """Return whether they have a role in a tenant."""
        return self.for_all_tenants or tenant in self.roles


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleRules:
    """Which claims say who somebody is, and what groups may do.

    A claim is a name, or a path with dots into claims (`realm_access.roles`). With `email_domains`
    a person needs a verified address of one of them.
    """

    group_roles: Mapping[str, Sequence[GroupRole]]
    name_claim: str = "name"
    groups_claim: str = "groups"
    email_domains: frozenset[str] = field(default_factory=frozenset)

    def is_complete(self, claims: Mapping[str, Any]) -> bool:
        """Return whether claims say all that is asked of them: name, groups, address."""
        names = (self.name_claim, self.groups_claim, *([_EMAIL_CLAIM] * bool(self.email_domains)))
        return all(claim_value(claims, name) is not None for name in names)

    def person_of(self, issuer: str, claims: Mapping[str, Any]) -> Person:
        """Return who the claims of a verified token are about.

        Raises `SignInRefusedError` for an address of another domain, and for people without a role.
        """
        email = verified_email(claims)
        if self.email_domains and email.rpartition("@")[2].lower() not in self.email_domains:
            raise SignInRefusedError("email_domain")
        value = claim_value(claims, self.groups_claim)
        if self.groups_claim == _EMAIL_CLAIM:
            value = email
        named = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        groups = [each for each in named if isinstance(each, str) and each]
        if not any(map(self.group_roles.get, groups)):
            raise SignInRefusedError("no_role", groups=groups)
        name = _clean_name(claim_value(claims, self.name_claim))
        subject = str(claims["sub"])
        return Person(
            issuer=issuer, subject=subject, email=email,
            name=name or _clean_name(claims.get(_EMAIL_CLAIM)) or _clean_name(subject),
            groups=tuple(dict.fromkeys(each for each in groups if each in self.group_roles)),
        )  # fmt: skip

    def rights_of(self, person: Person) -> PersonRights | None:
        """Return what a person may do by the rules of now; None if nothing."""
        roles: dict[str, set[Role]] = {}
        for group in person.groups:
            for tenant, role in self.group_roles.get(group, ()):
                roles.setdefault(tenant, set()).add(role)
        if not roles:
            return None
        return PersonRights(
            person=person, roles={tenant: frozenset(all_) for tenant, all_ in roles.items()}
        )


def claim_value(claims: Mapping[str, Any], name: str) -> Any:
    """Return the value of a claim, by its name or else by a path with dots; None without one."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for step in name.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def verified_email(claims: Mapping[str, Any]) -> str:
    """Return a person's address if the provider says that it is theirs, else ""."""
    email = claims.get(_EMAIL_CLAIM)
    verified = claims.get("email_verified")
    is_verified = verified is True or verified == "true"  # some providers write it as a text
    return email if isinstance(email, str) and is_verified and email.isprintable() else ""


def _clean_name(value: object) -> str:
    """Return a name of one line, or ""."""
    text = value if isinstance(value, str) else ""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[
        :_MAX_NAME_LENGTH
    ]
