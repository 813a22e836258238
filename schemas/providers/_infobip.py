"""What Infobip's reports of SMS and of email share: their layout, and what they echo.

A push has its reports in `results`, each with a `status` and an `error`, which have an id, a name
and a description. The sender's metadata comes back in `callbackData`, a JSON object or a query
string. Source: Infobip's docs, "Message status codes" and "Response status and error codes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.providers._common import as_text, reference_metadata, validator
from schemas.providers._rejections import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.events import EventFields

#: Where the reports of a push are.
RESULTS_PATH: Final = ("results",)
#: The error of a report without one.
NO_ERROR_IDS: Final = frozenset({"", "0"})

read_result: Final = validator(dict[str, object])


class Outcome(NamedTuple):
    """What a report says of its message: its status with the group, and the error if there is one.

    `kind` is that of the status.
    """

    kind: str
    status: str
    error_id: str
    error: str
    description: str


def outcome(
    result: Mapping[str, object], status_kinds: Mapping[str, str], group_kinds: Mapping[str, str]
) -> Outcome:
    """Return what a report says; its kind is that of its status, else that of the status's group.

    Raises `UnreadableError` if neither is known.
    """
    status, error = _members(result.get("status")), _members(result.get("error"))
    name, group = as_text(status.get("name")).upper(), as_text(status.get("groupName")).upper()
    kind = status_kinds.get(name) or group_kinds.get(group)
    if kind is None:
        raise UnreadableError(f"Infobip status {name[:60]!r} of {group[:60]!r} is not known")
    error_id = as_text(error.get("id"))
    if error_id in NO_ERROR_IDS:
        return Outcome(kind, name, "", "", "")
    return Outcome(
        kind, name, error_id, as_text(error.get("name")).upper(), as_text(error.get("description"))
    )


def shared_fields(result: Mapping[str, object]) -> EventFields:
    """Return the fields that reports of all kinds have. Raises `UnreadableError` without an id."""
    if not (message_id := as_text(result.get("messageId"))):
        raise UnreadableError("an Infobip report names its messageId")
    fields = reference_metadata(as_text(result.get("callbackData")))
    fields["provider_message_id"] = message_id
    if campaign := as_text(result.get("campaignReferenceId")):
        fields.setdefault("campaign", campaign)
    return fields


def _members(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
