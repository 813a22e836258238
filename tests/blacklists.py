"""A mailer's copy of the blacklist, with entries for tests."""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.decisions import Suppression

SINCE = datetime(2026, 11, 1, 9, tzinfo=UTC)


def suppress(blacklist, address):
    """Put an address into a copy of the blacklist, as its record would."""
    entry = Suppression(
        rule="hard_bounce", since=SINCE, tenant_id=address.tenant_id, channel=address.channel,
        address=address.address, effect="invalid",
    )  # fmt: skip
    blacklist.apply(address.key.encode(), entry.model_dump_json().encode())
