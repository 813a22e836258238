"""What stands in for a person who was forgotten: keyed hashes, which nobody undoes without the key.

The same address of a tenant always gets the same pseudonym, so that what a provider says later of
an old message falls on the same row, and what was refused is refused again.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, Final

from schemas.addresses import FORGOTTEN_DOMAIN, Address
from schemas.decisions import DECISION_LABEL
from schemas.written_forms import names_address

#: Texts of an event about a person, or by which one is found elsewhere.
PERSONAL_FIELDS: Final = (
    "subject", "text", "record_id", "record_name", "record_url", "preview_url", "diagnostic",
    "provider_event_id", "url", "user_agent", "ip",
)  # fmt: skip
#: Ids by which later events find their message. They stay, unless they name the address.
ID_FIELDS: Final = ("message_id", "provider_message_id", "other_id")
#: Codes and names of campaigns, which figures go by. They stay, unless they name the address.
CODE_FIELDS: Final = (
    "record_type", "enhanced_status", "reason_code", "label", "campaign", "recipient_error",
)  # fmt: skip
#: 128 bits: no two of the people of a business are taken for one.
HASH_DIGITS: Final = 32


def without_texts(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of a person without the texts about them, of the columns that it has."""
    texts = {name: "" for name in PERSONAL_FIELDS if name in event}
    # Those of our own decisions are words of ours.
    is_ours = event.get("label") == DECISION_LABEL
    tags: dict[str, Any] = {"tags": []} if "tags" in event and not is_ours else {}
    return {**event, **texts, **tags}


class Pseudonyms:
    """Makes pseudonyms by a secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def of(self, address: Address) -> str:
        """Return the pseudonym of an address, which is an address itself."""
        return f"{self._hash('address', *address)}@{FORGOTTEN_DOMAIN}"

    def of_id(self, text: str) -> str:
        """Return what stands in for an id that may be made of an address."""
        return self._hash("id", text)

    @property
    def check(self) -> str:
        """What tells whether two secrets are the same, and nothing of either."""
        return self._hash("check")

    def _hash(self, *parts: str) -> str:
        content = "\x1f".join(parts).encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, content, "sha256").hex()[:HASH_DIGITS]

    def without_person(
        self, event: Mapping[str, Any], address: Address, pseudonym: str
    ) -> dict[str, Any]:
        """Return an event of a person under the pseudonym, without what tells of the person.

        `event` has the columns of the event store, or only those that are set. What figures and
        statuses go by is left.
        """
        rest = {**event, **self.without_address(event, address, is_own=True)}
        event_id = self.of_id(event["event_id"])
        return {**without_texts(rest), "recipient": pseudonym, "event_id": event_id}

    def without_address(
        self, event: Mapping[str, Any], address: Address, *, is_own: bool = False
    ) -> dict[str, Any]:
        """Return the fields of an event that name an address, as they are without it.

        In ids of the address's own events it may be part of a word.
        """
        changed: dict[str, Any] = {}
        for name in (*PERSONAL_FIELDS, *CODE_FIELDS, *ID_FIELDS):
            text = event.get(name)
            is_id = name in ID_FIELDS
            if text and names_address(address, text, is_glued=is_id and is_own):
                changed[name] = self.of_id(text) if is_id else ""
        if any(names_address(address, tag) for tag in event.get("tags") or ()):
            changed["tags"] = [tag for tag in event["tags"] if not names_address(address, tag)]
        return changed
