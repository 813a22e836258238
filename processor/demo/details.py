"""Details of events, as fields of `MessageEvent`.

Each constant is a tuple of alternatives. `reason_code` is SES's label (type/subType for bounces) or
Twilio's error code, from which `payloads` builds the provider's push.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

#: Fields of an event beside those that every event has.
Detail: TypeAlias = Mapping[str, str | int | bool]
#: Alternatives; one of them is drawn.
Details: TypeAlias = tuple[Detail, ...]
#: No details.
PLAIN: Final[Details] = ({},)


def _bounce(
    bounce_class: str, smtp_code: int, enhanced_status: str, text: str, reason_code: str
) -> Detail:
    """Return the details of a bounce; `reason_code` is SES's type/subType."""
    return {
        "bounce_class": bounce_class, "smtp_code": smtp_code, "enhanced_status": enhanced_status,
        "diagnostic": f"{smtp_code} {enhanced_status} {text}", "reason_code": reason_code,
        "label": reason_code, "classified_by": "code",
    }  # fmt: skip


HARD_BOUNCES: Final = (
    _bounce("hard", 550, "5.1.1", "mailbox does not exist", "Permanent/General"),
    _bounce("hard", 550, "5.1.1", '<>: user unknown "check the spelling"', "Permanent/NoEmail"),
    _bounce("hard", 550, "5.4.4", "unable to route: host not found", "Transient/General"),
    _bounce("hard", 550, "5.2.1", "mailbox disabled", "Permanent/General"),
)
LATE_HARD_BOUNCES: Final = tuple({**detail, "late": True} for detail in HARD_BOUNCES[:2])
BLOCK_BOUNCES: Final = (
    _bounce("block", 550, "5.7.1", "rejected due to poor sender reputation", "Permanent/General"),
    _bounce("block", 550, "5.7.26", "unauthenticated mail is not accepted", "Permanent/General"),
    _bounce("block", 552, "5.3.4", "message too large", "Transient/MessageTooLarge"),
)
SOFT_BOUNCES: Final = (
    _bounce("soft", 552, "5.2.2", "mailbox full", "Transient/MailboxFull"),
    _bounce("soft", 452, "4.2.2", "over quota, try again later", "Transient/MailboxFull"),
    _bounce("soft", 421, "4.4.2", "connection dropped", "Transient/General"),
)
ACCEPTED: Final[Details] = (
    {"smtp_code": 250, "enhanced_status": "2.0.0", "diagnostic": "250 2.0.0 OK"},
    {"smtp_code": 250, "enhanced_status": "2.6.0", "diagnostic": "250 2.6.0 message received"},
)
DELAYED: Final[Details] = (
    {"smtp_code": 421, "enhanced_status": "4.4.1", "reason_code": "TransientCommunicationFailure",
     "diagnostic": "421 4.4.1 unable to connect to remote host"},
    {"smtp_code": 450, "enhanced_status": "4.2.0", "reason_code": "General",
     "diagnostic": "450 4.2.0 greylisted, please come back in 5 minutes"},
)  # fmt: skip
SUPPRESSED: Final[Details] = (
    {"enhanced_status": "5.1.1", "reason_code": "Permanent/OnAccountSuppressionList",
     "diagnostic": "Amazon SES did not send the message: the address is on the suppression list"},
    {"enhanced_status": "5.1.1", "reason_code": "Permanent/Suppressed",
     "diagnostic": "Amazon SES has suppressed sending to this address"},
)  # fmt: skip
REFUSED: Final[Details] = (
    {"reason_code": "Bad content"},
    {"diagnostic": "Attribute 'first' is not present in the rendering data."},
)
PERSON: Final[Details] = (
    {"machine": False, "ip": "192.0.2.17",
     "user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15"},
    {"machine": False, "ip": "198.51.100.204",
     "user_agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140.0 Safari/537.36"},
    {"machine": False, "ip": "203.0.113.77",
     "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Thunderbird/142.0"},
)  # fmt: skip
MACHINE: Final[Details] = (
    {"machine": True, "ip": "192.0.2.250", "user_agent": "Mozilla/5.0 (privacy proxy)"},
)
LINKS: Final[Details] = tuple(
    {**person, "url": f"https://studio.example.com/{page}"}
    for person in PERSON for page in ("pay?invoice=1&via=email", "schedule", "recital#tickets")
)  # fmt: skip
SPAM: Final[Details] = ({"reason_code": "abuse"},)
UNSUBSCRIBED: Final[Details] = ({"reason_code": "UnsubscribeHeader"},)
OPTED_OUT: Final[Details] = ({"diagnostic": "opted out of newsletters"},)
EXHAUSTED: Final[Details] = ({"bounce_class": "soft"},)

NUMBER_BAD: Final[Details] = (
    {"reason_code": "30005"}, {"reason_code": "30006"}, {"reason_code": "30003"},
)  # fmt: skip
FILTERED: Final[Details] = ({"reason_code": "30007"},)
OVERFLOW: Final[Details] = ({"reason_code": "30001"},)
TOO_OLD: Final[Details] = ({"reason_code": "30036"},)
STOPPED: Final[Details] = ({"reason_code": "21610"},)
#: The segments of a long SMS.
FIRST_SEGMENT: Final[Details] = ({"part": 1, "parts": 2},)
SECOND_SEGMENT: Final[Details] = ({"part": 2, "parts": 2},)
FIRST_SEGMENT_OVERFLOW: Final[Details] = ({**FIRST_SEGMENT[0], "reason_code": "30001"},)
SECOND_SEGMENT_BAD: Final[Details] = ({**SECOND_SEGMENT[0], "reason_code": "30005"},)
SECOND_SEGMENT_FILTERED: Final[Details] = ({**SECOND_SEGMENT[0], "reason_code": "30007"},)
