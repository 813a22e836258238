"""The blacklist in the forms in which providers take a list, and theirs that only people can take.

Sources: Twilio SendGrid's docs, "Global suppressions"; Mailgun's docs, "Import list of bounces",
"… of complaints", "… of unsubscribes"; Postmark's developer docs, "Suppressions API"; Amazon SES
Developer Guide, "Using the account-level suppression list" (bulk import); Mailchimp Developer, "Add
email to denylist"; Twilio's docs, "Bulk upsert consents".
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from email.utils import format_datetime
from hashlib import md5
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias, get_args

from schemas.decisions import RuleName
from schemas.events import Channel

#: An entry of the blacklist, as `projections.queries.suppressions.export_entries` gives it.
BlacklistEntry: TypeAlias = Mapping[str, Any]
#: What Postmark and Twilio take in one request.
POSTMARK_BATCH_ADDRESSES: Final = 50
TWILIO_BATCH_ITEMS: Final = 25
_ALL_RULES: Final[frozenset[RuleName]] = frozenset(get_args(RuleName))
_BOUNCE_RULES: Final[frozenset[RuleName]] = frozenset(
    {"hard_bounce", "refusals", "echo", "by_hand"}
)


class WrittenList(NamedTuple):
    """How entries become what a provider takes: those of a channel by one of `rules`, as lines.

    `lost` says what of them the provider's list does not keep.
    """

    channel: Channel
    rules: frozenset[RuleName]
    lines: Callable[[Sequence[BlacklistEntry]], Iterator[str]]
    lost: str


def _csv_lines(*columns: str) -> Callable[[Sequence[BlacklistEntry]], Iterator[str]]:
    """Return what writes entries as CSV with these columns, each from `_CELLS`."""

    def lines(entries: Sequence[BlacklistEntry]) -> Iterator[str]:
        yield ",".join(columns)
        for entry in entries:
            yield _csv_line([_CELLS[column](entry) for column in columns])

    return lines


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


_CELLS: Final[Mapping[str, Callable[[BlacklistEntry], str]]] = {
    "email": lambda entry: str(entry["address"]),
    "address": lambda entry: str(entry["address"]),
    "code": lambda _: "550",
    "error": lambda entry: str(entry["reason"]),
    "tags": lambda _: "*",
    "created_at": lambda entry: format_datetime(entry["since"]),
}


def _ses_lines(entries: Sequence[BlacklistEntry]) -> Iterator[str]:
    for entry in entries:
        is_persons = {"complaint", "unsubscribe"} & set(entry["rules"])
        yield _csv_line([entry["address"], "COMPLAINT" if is_persons else "BOUNCE"])


def _postmark_lines(entries: Sequence[BlacklistEntry]) -> Iterator[str]:
    for batch in _batches(entries, POSTMARK_BATCH_ADDRESSES):
        yield json.dumps({"Suppressions": [{"EmailAddress": each["address"]} for each in batch]})


def _mandrill_lines(entries: Sequence[BlacklistEntry]) -> Iterator[str]:
    for entry in entries:
        yield json.dumps(
            {"email": entry["address"], "comment": entry["reason"]}, ensure_ascii=False
        )


def _twilio_lines(entries: Sequence[BlacklistEntry]) -> Iterator[str]:
    for batch in _batches(entries, TWILIO_BATCH_ITEMS):
        yield json.dumps({"Items": [
            {
                "contact_id": each["address"], "status": "opt-out", "source": "others",
                "correlation_id": md5(each["address"].encode(), usedforsecurity=False).hexdigest(),
                "date_of_consent": f"{each['since']:%Y-%m-%dT%H:%M:%SZ}", "sender_id": "",
            }
            for each in batch
        ]})  # fmt: skip


def _batches(entries: Iterable[BlacklistEntry], size: int) -> Iterator[list[BlacklistEntry]]:
    rest = iter(entries)
    while batch := list(islice(rest, size)):
        yield batch


#: The forms in which the blacklist can be written.
WRITTEN_LISTS: Final[Mapping[str, WrittenList]] = {
    "sendgrid-unsubscribes": WrittenList(
        "email", _ALL_RULES, _csv_lines("email"),
        "rule, reason and time: SendGrid takes addresses as global unsubscribes alone",
    ),
    "mailgun-bounces": WrittenList(
        "email", _BOUNCE_RULES, _csv_lines("address", "code", "error", "created_at"), "the rule"
    ),
    "mailgun-complaints": WrittenList(
        "email", frozenset({"complaint"}), _csv_lines("address", "created_at"), "the reason"
    ),
    "mailgun-unsubscribes": WrittenList(
        "email", frozenset({"unsubscribe"}), _csv_lines("address", "tags", "created_at"),
        "the reason",
    ),
    "postmark": WrittenList(
        "email", _ALL_RULES, _postmark_lines,
        "rule, reason and time: Postmark lists all as ManualSuppression; a request a line",
    ),
    "ses": WrittenList(
        "email", _ALL_RULES, _ses_lines,
        "reason and time; SES knows BOUNCE and COMPLAINT: who unsubscribed is a COMPLAINT",
    ),
    "mandrill": WrittenList(
        "email", _ALL_RULES, _mandrill_lines,
        "rule and time: Mandrill lists all as custom; a request a line",
    ),
    "twilio-opt-outs": WrittenList(
        "sms", _ALL_RULES, _twilio_lines,
        "the reason; and put your sender or messaging service into sender_id; a request a line",
    ),
}  # fmt: skip


class WriteReport(NamedTuple):
    """How many entries were written, and of the others how many and why not."""

    written: int
    left_out: Mapping[str, int]


def write_list(
    name: str, entries: Iterable[BlacklistEntry], write: Callable[[str], None]
) -> WriteReport:
    """Write entries in the form `name` of `WRITTEN_LISTS`, a line at a time."""
    form, carried, left_out = WRITTEN_LISTS[name], list[BlacklistEntry](), Counter[str]()
    for entry in entries:
        if entry["channel"] != form.channel:
            left_out[f"of {entry['channel']}"] += 1
        elif entry["until"] is not None:
            left_out["that end by themselves, as there they would not"] += 1
        elif not form.rules & set(entry["rules"]):
            left_out[f"by {entry['rule']}"] += 1
        else:
            carried.append(entry)
    for line in form.lines(carried):
        write(line)
    return WriteReport(len(carried), left_out)


# ------------------------------------------------------------- lists of opt-outs, by hand


class OptOut(NamedTuple):
    """A number that opted out, as a row of a file of addresses to blacklist."""

    channel: str
    address: str
    reason: str


OPT_OUT_STATUSES: Final = ("opt-out", "opted-out")
#: Members and columns of a number, of its status, and of its time, without signs, in lower case.
_NUMBER_NAMES: Final = ("contactid", "phonenumber", "to", "number")
_TIME_NAMES: Final = ("dateofconsent", "datecreated", "date")


def twilio_lines(text: str) -> Iterator[str]:
    """Yield Twilio's consents, JSON or CSV, as a file of addresses to blacklist by hand.

    Contacts that did not opt out are left out. Raises `ValueError` if it is no JSON.
    """
    yield "channel,address,reason"
    for opt_out in _opt_outs(text):
        yield _csv_line(opt_out)


def _opt_outs(text: str) -> Iterator[OptOut]:
    for row in _rows(text):
        values = {"".join(filter(str.isalnum, name.lower())): str(value or "")
                  for name, value in row.items() if name}  # fmt: skip
        status = values.get("status", OPT_OUT_STATUSES[0]).lower().replace("_", "-")
        if status not in OPT_OUT_STATUSES:
            continue
        address = next((values[name] for name in _NUMBER_NAMES if values.get(name)), "")
        at = next((values[name] for name in _TIME_NAMES if values.get(name)), "")
        reason = f"opted out at Twilio on {at[:10]}" if at else "opted out at Twilio"
        yield OptOut("sms", address, reason)


def _rows(text: str) -> Iterator[Mapping[str, Any]]:
    if text.lstrip()[:1] not in ("{", "["):
        yield from csv.DictReader(io.StringIO(text))
        return
    body = json.loads(text)
    if isinstance(body, dict):
        body = next((each for each in body.values() if isinstance(each, list)), [body])
    yield from (row if isinstance(row, dict) else {} for row in body)
