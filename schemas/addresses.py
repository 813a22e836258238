"""Addresses: of a tenant, on a channel, in the form in which they are compared."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from schemas.events import Channel

_NUMBER_SEPARATORS: Final = re.compile(r"[\s().\-/]+")


class Address(NamedTuple):
    """An email address or phone number of one tenant, which suppressions and retries are about."""

    tenant_id: str
    channel: Channel
    address: str

    @property
    def key(self) -> str:
        """The key of `delivery.policy` and `delivery.suppressions`, as "acme|email|a@example.com".

        A bar in a tenant's name is escaped, so that no two addresses have one key.
        """
        tenant = self.tenant_id.replace("%", "%25").replace("|", "%7C")
        return f"{tenant}|{self.channel}|{self.address}"

    @classmethod
    def parse(cls, key: str) -> Address:
        """Return the address of a `key`. Raises `ValueError` if it is no key."""
        match key.split("|", 2):
            case [tenant, ("email" | "sms") as channel, address]:
                tenant = tenant.replace("%7C", "|").replace("%25", "%")
                return cls(tenant, channel, address)
        raise ValueError(f"{key!r} is no key of an address; write TENANT|email|ADDRESS")


def normalise_address(channel: Channel, address: str) -> str:
    """Return an address in the log's form: trimmed, lower-cased; a number in E.164.

    "+44 (20) 7946-0018" and "0044 20 7946 0018" are +442079460018; a sender's name stays a name.
    """
    address = address.strip().lower()
    if channel == "email":
        return address
    digits = _NUMBER_SEPARATORS.sub("", address)
    if digits.startswith("00"):
        digits = f"+{digits[2:]}"
    return digits if re.fullmatch(r"\+?\d+", digits) else address
