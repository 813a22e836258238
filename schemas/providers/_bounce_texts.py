"""Reads bounces that are only a text for people: an introduction, addresses, and replies.

| system | begins | addresses |
|---|---|---|
| qmail, Yahoo | "the qmail-send program", "unable to deliver your message" | `<a@b>:` |
| Exim, GMX, mail.ru | "… one or more of its recipients" | a line, or `>>> a@b (…):` |
| Postfix, Zimbra | "… one or more recipients" | `<a@b>: host … said: …` |
| Sendmail | "had permanent fatal errors" | `<a@b>`, then `(reason: …)` |
| Exchange 5.5 to 2003 | "did not reach some or all" | `a@b on 5/6/2025 …` |
| Exchange from 2007, Outlook | "has failed to these recipients or groups" | a line, then `#550 …` |
| Gmail | "failed permanently", "wasn't delivered to" | a line, or in the sentence |
| Lotus Notes, Domino | "was not delivered to:" | a line, then "because:" |
| Courier, MDaemon, MailEnable | as in the table below | a line |

Sources: the texts in the sources of qmail, Exim, Postfix, Sendmail and Courier; those of the others
as their users quote them.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from schemas.addresses import addresses_in
from schemas.smtp_replies import find_codes

FAILED: Final = "failed"
DELAYED: Final = "delayed"

_ADDRESS: Final = r"[^\s<>()\[\]\";:,]{1,200}@[^\s<>()\[\]\";:,]{0,253}\w"
#: What a report begins with, and what that means. The first that fits counts: a warning of a delay
#: may speak of what could not be delivered.
INTRODUCTIONS: Final = (
    # Delays
    (r"has not (?:yet )?been delivered to (?:one or more|all|any) of its recipients", DELAYED),
    (r"this is a warning (?:message )?only", DELAYED),
    (r"following addresses had transient non-?fatal (?:delivery )?errors", DELAYED),
    (r"delivery to the following recipients? has been delayed", DELAYED),
    (rf"temporary problem (?:while )?delivering your message to (?P<address>{_ADDRESS})", DELAYED),
    (r"delivery to these recipients (?:or groups )?(?:is|has been) delayed", DELAYED),
    # Failures
    (r"hi\. this is the \S{1,60} program", FAILED),
    (r"not be delivered to one or more (?:of its )?recipients", FAILED),
    (r"unable to deliver (?:your|the) message to the following (?:address|recipient)", FAILED),
    (r"following addresses had permanent (?:fatal|delivery) errors", FAILED),
    (r"did not reach (?:some or all of )?the (?:intended|following) recipient", FAILED),
    (r"delivery has failed to these recipients or groups", FAILED),
    (r"delivery to the following recipients? failed(?: permanently)?", FAILED),
    (rf"your message (?:wasn't|was not|couldn't be) delivered to (?P<address>{_ADDRESS})", FAILED),
    (r"was not delivered to:", FAILED),
    (r"message to the following recipients? cannot be delivered", FAILED),
    (r"following address(?:es|\(es\))? (?:did not receive|failed)", FAILED),
    (r"message could not be delivered to (?:some|the following) recipients?", FAILED),
    (r"не может быть доставлено", FAILED),
)  # fmt: skip
#: Where the returned message begins.
_END: Final = re.compile(
    r"^[ \t]{0,20}(?:--[^\n]{0,60}?(?:copy of|original message|header of the|below this line"
    r"|unsent message|returned message|message follows|message headers)[^\n]*"
    r"|original message headers:?[^\n]*|message headers follow:?[^\n]*|[-_]{20,}[ \t]*)$",
    re.IGNORECASE | re.MULTILINE,
)
#: A line that names a recipient, with what follows of its reply.
_RECIPIENT_LINE: Final = re.compile(
    r"[>\s*]*(?:recipient:|to:)?\s*(?:\[smtp:|[^\n(<]{0,80}\()?['\"<]*"
    rf"(?P<address>{_ADDRESS})"
    r"['\">]*[\])]?(?:<mailto:[^>\n]*>)?(?P<rest>\s*|:.*|\s+on \S.*|\s+\(.*)",
    re.IGNORECASE,
)
_DATE_REST: Final = re.compile(r"\s+on \S")
_REPLY_PREFIX: Final = re.compile(r"(?:because|reason)\s*:|[:\s]+", re.IGNORECASE)
MAX_REPLY_CHARACTERS: Final = 1_000
MAX_RECIPIENTS: Final = 500
_MAX_LINE_CHARACTERS: Final = 500


class TextReport(NamedTuple):
    """What a text says: what happened, the reply of each recipient, the message it returns."""

    action: str
    replies: dict[str, str]
    returned: str


_INTRODUCTIONS: Final = tuple(
    (re.compile(text.replace(" ", r"\s+"), re.IGNORECASE), action) for text, action in INTRODUCTIONS
)


def read_text(text: str) -> TextReport | None:
    """Return what a report for people says, or None if it is in no form that is known."""
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    matches = ((pattern.search(text), action) for pattern, action in _INTRODUCTIONS)
    match, action = next((pair for pair in matches if pair[0]), (None, ""))
    if match is None:
        return None
    end = _END.search(text, match.end())
    body = text[match.end() : end.start() if end else len(text)]
    replies = _replies(body)
    if address := match.groupdict().get("address"):
        replies = {address.lower(): _one_line(body)}
    return TextReport(action, replies, text[end.end() :].lstrip("\n") if end else "")


def _replies(body: str) -> dict[str, str]:
    """Return the reply for each address that has a line of its own."""
    blocks: list[tuple[str, list[str]]] = []
    for line in body.split("\n"):
        match = _RECIPIENT_LINE.fullmatch(line) if len(line) <= _MAX_LINE_CHARACTERS else None
        if match and len(blocks) < MAX_RECIPIENTS:
            rest = match["rest"]
            blocks.append((match["address"].lower(), [] if _DATE_REST.match(rest) else [rest]))
        elif blocks:
            blocks[-1][1].append(line)
    replies: dict[str, str] = {}
    following = ""
    # From the last: what follows several addresses is about all of them, unless it names one.
    for address, lines in reversed(blocks):
        own = _one_line(" ".join(lines))
        reply = own or (following if addresses_in(following) <= {address} else "")
        following = reply if own else following
        earlier = replies.get(address, "")
        # The same address may come again, in a part for administrators that has the reply.
        if not earlier or (not any(find_codes(earlier)) and any(find_codes(reply))):
            replies[address] = reply
    return dict(reversed(replies.items()))


def _one_line(text: str) -> str:
    line = " ".join(text[: 4 * MAX_REPLY_CHARACTERS].split())
    while match := _REPLY_PREFIX.match(line):
        line = line[match.end() :]
    # Sendmail adds the transcript of the whole session.
    own, _, _ = line.partition(" -----")
    return own[:MAX_REPLY_CHARACTERS]
