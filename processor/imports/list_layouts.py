"""The lists of addresses that providers keep, as rows: each becomes the webhook that led to it.

So an address is blacklisted by the rule that the provider went by, since then, and who unsubscribed
is not lifted by a reset. An entry names no message; its event is about the address alone.

Sources: Twilio SendGrid's docs, "Suppressions"; Mailgun's docs, "Suppressions" (lists, and CSV);
Postmark's developer docs, "Suppressions API"; Amazon SES API v2, "ListSuppressedDestinations";
Mailchimp Developer, "Export denylist" and "List denylisted emails"; the columns of an exported
audience of Mailchimp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from processor.imports.layouts import LeaveOut, RowLayout, json_bytes

_EMAIL: Final = (frozenset({"email"}),)


def _iso(at: datetime) -> str:
    return at.isoformat()


def _ses_bytes(body: Mapping[str, Any]) -> bytes:
    """Return an entry of SES's list as its notification."""
    recipients = [{"emailAddress": body["address"]}]
    if body["reason"] == "COMPLAINT":
        part = {"complaint": {"timestamp": body["at"], "complainedRecipients": recipients}}
        return json_bytes({"notificationType": "Complaint", "mail": {}, **part})
    bounce = {
        "timestamp": body["at"], "bounceType": "Permanent", "bounceSubType": "General",
        "bouncedRecipients": recipients,
    }  # fmt: skip
    return json_bytes({"notificationType": "Bounce", "mail": {}, "bounce": bounce})


def _sendgrid(event: str, **columns: str) -> RowLayout:
    return RowLayout(
        marks=_EMAIL,
        columns={"email": "email", **columns},
        times=("created", "createdat"),
        time_member="timestamp",
        fixed={"event": event},
        encode=json_bytes,
    )


def _mailgun(event: str, *left_out: LeaveOut, **fixed: Any) -> RowLayout:
    return RowLayout(
        marks=(frozenset({"address"}),),
        columns={
            "address": "recipient", "code": "delivery-status.code",
            "error": "delivery-status.message",
        },
        times=("createdat",),
        time_member="timestamp",
        fixed={"event": event, **fixed},
        left_out=left_out,
        encode=json_bytes,
    )  # fmt: skip


def _mailchimp(event: str, *times: str) -> RowLayout:
    return RowLayout(
        marks=(frozenset({"emailaddress"}),),
        columns={"emailaddress": "msg.email"},
        times=times,
        time_member="ts",
        fixed={"event": event},
        encode=json_bytes,
    )


#: The lists of each provider, by name.
LIST_LAYOUTS: Final[Mapping[str, Mapping[str, RowLayout]]] = {
    "sendgrid": {
        "bounces": replace(
            _sendgrid("bounce", reason="reason", status="status"),
            fixed={"event": "bounce", "type": "bounce"},
        ),
        "invalid": replace(
            _sendgrid("bounce", reason="reason"),
            fixed={"event": "bounce", "bounce_classification": "Invalid Address"},
        ),
        "spam-reports": _sendgrid("spamreport", ip="ip"),
        "unsubscribes": _sendgrid("unsubscribe"),
    },
    "mailgun": {
        "bounces": _mailgun("failed", severity="permanent", reason="bounce"),
        "complaints": _mailgun("complained"),
        "unsubscribes": _mailgun(
            "unsubscribed",
            LeaveOut("tags", re.compile(r"[^\s*\[\]\"',]"), "unsubscribed from some tags only"),
        ),
    },
    "postmark": {
        "suppressions": RowLayout(
            marks=(frozenset({"emailaddress"}), frozenset({"suppressionreason"})),
            columns={"emailaddress": "Recipient", "suppressionreason": "SuppressionReason"},
            times=("createdat",),
            time_member="ChangedAt",
            time_form=_iso,
            fixed={"RecordType": "SubscriptionChange", "SuppressSending": True},
            encode=json_bytes,
        ),
    },
    "ses": {
        "suppressions": RowLayout(
            marks=(frozenset({"emailaddress"}), frozenset({"reason"})),
            columns={"emailaddress": "address", "reason": "reason"},
            words={"reason": {"bounce": "BOUNCE", "complaint": "COMPLAINT"}},
            times=("lastupdatetime",),
            time_member="at",
            time_form=_iso,
            encode=_ses_bytes,
        ),
    },
    "mandrill": {
        "denylist": RowLayout(
            marks=(frozenset({"email"}), frozenset({"reason"})),
            columns={"email": "msg.email", "reason": "event", "detail": "msg.diag"},
            words={"event": {"hard-bounce": "hard_bounce"}},
            times=("createdat", "lasteventat"),
            time_member="ts",
            left_out=(
                LeaveOut("expired", re.compile("(?i)true"), "expired"),
                LeaveOut(
                    "reason", re.compile("soft-bounce"), "soft bounces, which expire in a day"
                ),
                LeaveOut("reason", re.compile("custom"), "listed by hand there: add them by hand"),
            ),
            encode=json_bytes,
        ),
        "mailchimp-unsubscribed": _mailchimp("unsub", "unsubtime", "lastchanged"),
        "mailchimp-cleaned": _mailchimp("hard_bounce", "cleantime", "lastchanged"),
    },
}
#: Members that hold the entries of a list in what the providers' APIs answer.
ENTRY_MEMBERS: Final = ("items", "Suppressions", "SuppressedDestinationSummaries")


def list_names() -> str:
    """Return which lists there are, for people."""
    return "; ".join(
        f"{provider}: {', '.join(layouts)}" for provider, layouts in LIST_LAYOUTS.items()
    )
