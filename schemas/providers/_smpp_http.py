"""What SMPP gateways push over HTTP instead of a receipt: Jasmin's callbacks, and Kannel's.

Jasmin names its fields: `message_status` holds the state of the receipt (level 2 and 3), or the
SMSC's answer to the submission (level 1). In Kannel the sender writes the address itself, here
`dlr-url=https://…?dlr=%d&reply=%A&to=%P&ts=%T&id=…` with an id of the sender's own. Kannel's `%A`
may be a whole receipt, which then counts before `%d`. Sources: Jasmin's docs, "HTTP API"; Kannel's
user guide, "Delivery reports" and "Parameters (escape codes)"; SMPP Protocol Specification v3.4
(5.1.3, command_status).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from schemas.providers._rejections import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The fields of both that are read.
GATEWAY_FIELDS: Final = frozenset(
    {"id", "message_status", "err", "donedate", "dlr", "reply", "to", "ts", "content"}
)

#: Answers to a submission, under their names in the specification.
COMMAND_STATUS_KINDS: Final = {
    name: kind
    for kind, names in {
        "sent": ["ESME_ROK"],
        "undelivered": ["ESME_RINVDSTADR", "ESME_RINVDSTTON", "ESME_RINVDSTNPI"],
        "rejected": ["ESME_RX_R_APPN"],
        "failed": [
            "ESME_RINVMSGLEN", "ESME_RINVCMDLEN", "ESME_RINVCMDID", "ESME_RINVBNDSTS",
            "ESME_RALYBND", "ESME_RINVPRTFLG", "ESME_RINVREGDLVFLG", "ESME_RSYSERR",
            "ESME_RINVSRCADR", "ESME_RINVMSGID", "ESME_RBINDFAIL", "ESME_RINVPASWD",
            "ESME_RINVSYSID", "ESME_RCANCELFAIL", "ESME_RREPLACEFAIL", "ESME_RMSGQFUL",
            "ESME_RINVSERTYP", "ESME_RINVNUMDESTS", "ESME_RINVDLNAME", "ESME_RINVDESTFLAG",
            "ESME_RINVSUBREP", "ESME_RINVESMCLASS", "ESME_RCNTSUBDL", "ESME_RSUBMITFAIL",
            "ESME_RINVSRCTON", "ESME_RINVSRCNPI", "ESME_RINVSYSTYP", "ESME_RINVREPFLAG",
            "ESME_RINVNUMMSGS", "ESME_RTHROTTLED", "ESME_RINVSCHED", "ESME_RINVEXPIRY",
            "ESME_RINVDFTMSGID", "ESME_RX_T_APPN", "ESME_RX_P_APPN", "ESME_RQUERYFAIL",
            "ESME_RINVOPTPARSTREAM", "ESME_ROPTPARNOTALLWD", "ESME_RINVPARLEN",
            "ESME_RMISSINGOPTPARAM", "ESME_RINVOPTPARAMVAL", "ESME_RDELIVERYFAILURE",
            "ESME_RUNKNOWNERR",
        ],
    }.items()
    for name in names
}  # fmt: skip
#: The numbers of those that are about the phone.
PHONE_ERRORS: Final = {0x0B: "ESME_RINVDSTADR", 0x50: "ESME_RINVDSTTON", 0x51: "ESME_RINVDSTNPI"}

#: Kannel's report values, under its own names for them.
KANNEL_REPORTS: Final = {
    "1": "DLR_SUCCESS",
    "2": "DLR_FAIL",
    "4": "DLR_BUFFERED",
    "8": "DLR_SMSC_SUCCESS",
    "16": "DLR_SMSC_FAIL",
    "34": "DLR_EXPIRED",
    "66": "DLR_UNKNOWN",
}
KANNEL_REPORT_KINDS: Final = {
    "DLR_SUCCESS": "delivery",
    "DLR_FAIL": "undelivered",
    "DLR_BUFFERED": "sent",
    "DLR_SMSC_SUCCESS": "sent",
    "DLR_SMSC_FAIL": "failed",
    "DLR_EXPIRED": "expired",
    "DLR_UNKNOWN": "unknown",
}

#: What Jasmin writes for what the SMSC did not send.
NO_VALUE: Final = "ND"
_PUSH: Final = re.compile(r"\??[A-Za-z][\w-]*=")
_REFUSED: Final = re.compile(r"NACK/(0x[0-9a-f]{1,8}|[0-9]{1,9})(?:/|$)", re.IGNORECASE)


def is_push(text: str) -> bool:
    """Return whether a text is the query or form of a gateway, and no receipt."""
    return _PUSH.match(text) is not None


def receipt_fields(push: Mapping[str, str]) -> dict[str, str]:
    """Return a push's fields under a receipt's names: `id`, `stat`, `err` and `done date`.

    Empty for an incoming message. Raises `UnreadableError` for an unknown report.
    """
    named = {"done date": push.get("donedate", ""), "err": push.get("err", "")}
    receipt = {"id": push.get("id", "")} | {
        name: "" if value == NO_VALUE else value for name, value in named.items()
    }
    if word := push.get("message_status", ""):
        return receipt | {"stat": word.upper()}
    if not (value := push.get("dlr", "")):
        if "content" in push:
            return {}
        raise UnreadableError("an SMPP gateway's push has to hold message_status or dlr")
    if value not in KANNEL_REPORTS:
        raise UnreadableError(f"Kannel's report {value[:40]!r} is not known")
    receipt["stat"] = KANNEL_REPORTS[value]
    if refused := _REFUSED.match(push.get("reply", "")):
        number = refused[1].lower()
        receipt["err"] = number
        command = int(number, 16 if number.startswith("0x") else 10)
        receipt["stat"] = PHONE_ERRORS.get(command, receipt["stat"])
    return receipt
