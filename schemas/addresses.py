"""Addresses: whose, on which channel, and in which form they are compared."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from schemas.events import Channel

_NUMBER_DECORATION: Final = re.compile(r"[\s().\-/]+")


class Address(NamedTuple):
    """Whom the rules are about: an address or number of one tenant."""

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
        """Read a `key`. Raises `ValueError` for what is none."""
        match key.split("|", 2):
            case [tenant, ("email" | "sms") as channel, address]:
                tenant = tenant.replace("%7C", "|").replace("%25", "%")
                return cls(tenant, channel, address)
        raise ValueError(f"{key!r} is no key of an address; write TENANT|email|ADDRESS")


def normalised(channel: Channel, address: str) -> str:
    """Return an address as the log has it: trimmed, lower-cased; a number in E.164.

    "+44 (20) 7946-0018" and "0044 20 7946 0018" are +442079460018; a name as sender stays a name.
    """
    address = address.strip().lower()
    if channel == "email":
        return address
    digits = _NUMBER_DECORATION.sub("", address)
    if digits.startswith("00"):
        digits = f"+{digits[2:]}"
    return digits if re.fullmatch(r"\+?\d+", digits) else address
