"""The mailbox of reports in `tests/data`, and what each of its mails is about."""

from __future__ import annotations

import mailbox
import re
from typing import NamedTuple

from tests.paths import ROOT

REPORTS = ROOT / "tests" / "data" / "mailboxes" / "reports.mbox"
_NAME = re.compile(rb"^Message-ID: <([\w-]+)@reports", re.MULTILINE)


class Outcome(NamedTuple):
    """An event that a mail becomes."""

    kind: str
    message_id: str
    recipient: str
    bounce_class: str | None = None


#: By the name of a mail, which its Message-ID begins with.
OUTCOMES = {
    "postfix": [Outcome("bounce", "m-postfix", "ann@postfix.example", "hard")],
    "postfix-delayed": [Outcome("deferral", "m-delayed", "ben@delayed.example")],
    "sendmail": [
        Outcome("bounce", "m-sendmail", "cleo@sendmail.example", "hard"),
        Outcome("bounce", "m-sendmail", "dan@sendmail.example", "soft"),
    ],
    "sendmail-text": [Outcome("bounce", "m-oldsendmail", "eve@oldsendmail.example", "hard")],
    "qmail": [Outcome("bounce", "m-qmail", "finn@qmail.example", "hard")],
    "qmail-remote": [Outcome("bounce", "m-qmailremote", "gus@remote.example", "block")],
    "exim": [Outcome("bounce", "m-exim", "hana@exim.example", "hard")],
    "exim-delay": [Outcome("deferral", "m-eximdelay", "ida@eximdelay.example")],
    "exim-dsn": [Outcome("bounce", "m-eximdsn", "jan@eximdsn.example", "hard")],
    "exchange-old": [Outcome("bounce", "m-oldexchange", "kim@oldexchange.example", "hard")],
    "exchange-2003": [Outcome("bounce", "m-ex2003", "lea@ex2003.example", "hard")],
    "outlook": [Outcome("bounce", "m-outlook", "mia@outlook.example", "hard")],
    "exchange-2007": [Outcome("bounce", "m-ex2007", "ned@ex2007.example", "block")],
    "exchange-text": [Outcome("bounce", "m-ex2016", "ola@ex2016.example", "soft")],
    "gmail": [Outcome("bounce", "m-gmail", "pia@gmail.example", "hard")],
    "gmail-old": [Outcome("bounce", "m-oldgmail", "quinn@oldgmail.example", "hard")],
    "yahoo": [Outcome("bounce", "m-yahoo", "rob@yahoo.example", "hard")],
    # The bounce rules take "listed in" for a list of senders.
    "domino": [Outcome("bounce", "m-domino", "sue@domino.example", "hard")],
    "gmx": [Outcome("bounce", "m-gmx", "tom@gmx.example", "hard")],
    "mailru": [Outcome("bounce", "m-mailru", "ula@mailru.example", "hard")],
    "momentum": [Outcome("bounce", "m-momentum", "vic@momentum.example", "hard")],
    "courier": [Outcome("bounce", "m-courier", "wim@courier.example", "hard")],
    "relayed": [
        Outcome("delivery", "m-relayed", "xia@relayed.example"),
        Outcome("note", "m-relayed", "yan@relayed.example"),
    ],
    "yahoo-complaint": [Outcome("complaint", "m-yahoofbl", "zoe@yahoofbl.example")],
    "redacted-complaint": [Outcome("complaint", "m-aolfbl", "abe@aolfbl.example")],
    "jmrp": [Outcome("complaint", "m-jmrp", "bea@jmrp.example")],
    "hotmail": [Outcome("complaint", "m-hotmail", "cy@hotmail.example")],
    "opt-out": [Outcome("unsubscribe", "m-optout", "dee@optout.example")],
    "no-message": [Outcome("bounce", "", "eli@nomessage.example", "hard")],
    "holiday": [],
    "challenge": [],
    "read": [],
}
#: Mails that nobody can read.
UNREADABLE = ("unknown-form",)


def mails() -> dict[str, bytes]:
    """Return the mails of the mailbox by their names."""
    box = mailbox.mbox(REPORTS, create=False)
    try:
        raw = [box.get_bytes(key) for key in box.keys()]  # noqa: SIM118 - a mailbox is no mapping
    finally:
        box.close()
    return {_NAME.search(text)[1].decode(): text for text in raw}
