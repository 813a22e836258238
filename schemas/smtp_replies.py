"""Mail servers' replies: the codes that a text quotes, and their meaning in plain words.

Reply codes are those of RFC 5321, enhanced status codes those of RFC 3463 and of IANA's registry
of SMTP enhanced status codes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


def find_codes(text: str) -> tuple[int | None, str]:
    """Return the SMTP reply code and the enhanced status that a reply or diagnostic text quotes.

    A number counts only where replies have it: at the start ("smtp; 550 5.1.1 …"), before an
    enhanced status, or after a word such as "said:"; never in an address, a date or an id.
    """
    match = _LEADING_CODES.match(text) or _CODE_PAIR.search(text) or _INTRODUCED_CODE.search(text)
    if match is None:
        marked = _STATUS_ALONE.search(text)
        return None, marked[1] if marked else ""
    smtp, enhanced = match[1], match[2]
    if not enhanced:
        statuses = (later[1] for later in _LATER_STATUS.finditer(text, match.end()))
        # A "status" of another class than the reply's is a version, or part of an address.
        enhanced = next((status for status in statuses if status[0] == smtp[0]), "")
    return int(smtp), enhanced


def find_last_codes(text: str) -> tuple[int | None, str]:
    """Return the codes of the last reply in a text, which is the one that ended the attempts."""
    pairs = _CODE_PAIR.findall(text)
    return (int(pairs[-1][0]), pairs[-1][1]) if pairs else find_codes(text)


def leading_status(value: str) -> str:
    """Return the enhanced status at the start of a provider's status field, or ''."""
    match = _STATUS_FIELD.match(value)
    return match[1] if match else ""


def describe_codes(smtp_code: int | None, enhanced_status: str = "") -> str:
    """Return codes with their meaning, as "550 5.1.1 mailbox does not exist"."""
    codes = format_codes(smtp_code, enhanced_status)
    meaning = STATUS_MEANINGS.get(enhanced_status) or REPLY_MEANINGS.get(smtp_code or 0, "")
    return f"{codes} {meaning}".strip()


def format_codes(smtp_code: int | None, enhanced_status: str) -> str:
    """Return the codes there are, as "550 5.1.1"."""
    return f"{smtp_code or ''} {enhanced_status}".strip()


_REPLY_CODE: Final = r"([245]\d\d)"
#: Where a number stands in prose, only what RFC 5321 defines.
_DEFINED_REPLY_CODE: Final = r"([245][0-5]\d)"
_ENHANCED_STATUS: Final = r"([245]\.[0-7]\.\d{1,3})(?!\.?\d|[\w@-])"
_BEFORE_ENHANCED: Final = r"[\s:-]+[(\[#]*"
_AFTER_REPLY: Final = r"(?=[\s;:,)\]'\"<-]|\.?$|\.\s)"
_INTRODUCING_WORDS: Final = (
    "said|code|error|status|reply|replied|response|returned|answered|dsn|smtp"
)

_LEADING_CODES: Final = re.compile(
    rf"[\s\"'(<\[]*(?:[A-Za-z][\w-]*;[\s\"'(<\[]*)?{_REPLY_CODE}"
    rf"(?:{_BEFORE_ENHANCED}{_ENHANCED_STATUS}|{_AFTER_REPLY})"
)
_CODE_PAIR: Final = re.compile(rf"(?<![\w.@+-]){_REPLY_CODE}{_BEFORE_ENHANCED}{_ENHANCED_STATUS}")
_INTRODUCED_CODE: Final = re.compile(
    rf"(?:\b(?:{_INTRODUCING_WORDS})\b|>:|[\])]:)[\s:=;\"'(<\[]*(?<!\d)"
    rf"{_DEFINED_REPLY_CODE}()(?:{_AFTER_REPLY})",
    re.IGNORECASE,
)
_LATER_STATUS: Final = re.compile(rf"(?<![\w.@/+-])(?<!on ){_ENHANCED_STATUS}")
_STATUS_ALONE: Final = re.compile(
    rf"(?:^[\s\"'<]*|[(\[#]|\b(?:{_INTRODUCING_WORDS})\b[\s:=;\"'<#]*){_ENHANCED_STATUS}",
    re.IGNORECASE,
)
_STATUS_FIELD: Final = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})(?![\d.])")

_BY_SUBJECT: Final = {
    "0.0": "no further details",
    "1.0": "address refused",
    "1.1": "mailbox does not exist",
    "1.2": "domain does not exist",
    "1.3": "address is malformed",
    "1.4": "address is ambiguous",
    "1.6": "mailbox has moved",
    "1.7": "sender's address is malformed",
    "1.8": "sender's domain does not exist",
    "1.9": "forwarded to a system that cannot deliver",
    "1.10": "domain accepts no mail",
    "2.0": "mailbox problem",
    "2.1": "mailbox is disabled",
    "2.2": "mailbox full",
    "2.3": "message too large for the mailbox",
    "2.4": "mailing list could not be expanded",
    "2.121": "recipient gets too many messages now",
    "2.122": "recipient gets too many messages now from this sender",
    "3.0": "mail system problem",
    "3.1": "mail system out of storage",
    "3.2": "mail system takes no messages now",
    "3.3": "mail system lacks a feature",
    "3.4": "message too large for the mail system",
    "3.5": "mail system is misconfigured",
    "3.6": "priority of the message was changed",
    "4.0": "network or routing problem",
    "4.1": "no answer from the server",
    "4.2": "connection was lost",
    "4.3": "directory server failed",
    "4.4": "no route to the domain",
    "4.5": "server is overloaded",
    "4.6": "mail goes round in a loop",
    "4.7": "delivery time expired",
    "5.0": "protocol problem",
    "5.1": "command not accepted",
    "5.2": "command has a syntax error",
    "5.3": "too many recipients",
    "5.4": "command has wrong arguments",
    "5.5": "protocol versions differ",
    "5.6": "authentication exchange too long",
    "6.0": "content problem",
    "6.1": "content type not supported",
    "6.2": "content conversion is forbidden",
    "6.3": "content must be converted and cannot be",
    "6.4": "content was converted with losses",
    "6.5": "content conversion failed",
    "6.6": "content not available",
    "6.7": "international address not supported",
    "6.8": "reply needs international characters",
    "6.9": "headers cannot be converted for the receiver",
    "6.10": "international headers not supported",
    "7.0": "refused for security reasons",
    "7.1": "refused by policy",
    "7.2": "sender may not post to the list",
    "7.3": "security conversion impossible",
    "7.4": "security feature not supported",
    "7.5": "cryptographic failure",
    "7.6": "cryptographic algorithm not supported",
    "7.7": "message was altered on the way",
    "7.8": "credentials are wrong",
    "7.9": "authentication method too weak",
    "7.10": "encryption needed",
    "7.11": "encryption needed for this authentication method",
    "7.12": "password has to be changed",
    "7.13": "account is disabled",
    "7.14": "trust relationship needed",
    "7.15": "priority of the message is too low",
    "7.16": "message too large for its priority",
    "7.17": "mailbox has a new owner",
    "7.18": "domain has a new owner",
    "7.19": "change of ownership cannot be checked",
    "7.20": "no passing DKIM signature",
    "7.21": "no acceptable DKIM signature",
    "7.22": "no DKIM signature of the author's domain",
    "7.23": "sender not allowed by SPF",
    "7.24": "SPF check failed",
    "7.25": "sending address has no valid reverse name",
    "7.26": "several authentication checks failed",
    "7.27": "sender's domain accepts no mail",
    "7.28": "refused as part of a flood of messages",
    "7.29": "forwarding chain (ARC) failed authentication",
    "7.30": "encryption on the whole way not possible",
}
#: The meaning of an enhanced status.
STATUS_MEANINGS: Final[Mapping[str, str]] = {
    f"{kind}.{code}": meaning for code, meaning in _BY_SUBJECT.items() for kind in (4, 5)
}
#: The meaning of a reply code without an enhanced status.
REPLY_MEANINGS: Final[Mapping[int, str]] = {
    421: "server not available now",
    450: "mailbox not available now",
    451: "server had an error",
    452: "server or mailbox out of storage",
    500: "command not understood",
    501: "command has wrong arguments",
    503: "command out of order",
    550: "refused",
    551: "mailbox is elsewhere",
    552: "storage or size limit exceeded",
    553: "address not allowed",
    554: "transaction failed",
    555: "command has unknown parameters",
}
