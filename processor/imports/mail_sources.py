"""What a mail server has at hand, as records: a mailbox of reports, and Postfix's log."""

from __future__ import annotations

import mailbox
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Final, NamedTuple

from schemas.errors import ExplainedError
from schemas.providers import postfix, reports
from schemas.providers.verp import verp_headers

#: Messages whose lines are kept until their deliveries are logged.
MAX_QUEUE_IDS: Final = 50_000
#: Lines of one message that say which it is: its headers are as many as `header_checks` logs.
MAX_CONTEXT_LINES: Final = 30
#: Recipients of one record of a message that expired.
MAX_EXPIRED_RECIPIENTS: Final = 500
#: A clock may be ahead of the one that dates the log.
_CLOCK_SKEW: Final = timedelta(days=1)


class MailSourceError(ExplainedError, ValueError):
    """A mailbox or log that cannot be read; the text names it."""


class SourceRecord(NamedTuple):
    """A record to publish."""

    value: bytes
    headers: dict[str, str]


def open_mailbox(path: Path) -> mailbox.Mailbox[mailbox.Message]:
    """Return a mailbox: a Maildir folder or an mbox file. Raises `MailSourceError`."""
    if not path.exists():
        raise MailSourceError(f"--mailbox {path}: no such file or folder")
    if not path.is_dir():
        box = mailbox.mbox(path, create=False)
        if not len(box) and path.stat().st_size:
            raise MailSourceError(f"--mailbox {path}: the file is no mbox, it begins with no From")
        return box
    if not (path / "cur").is_dir():
        raise MailSourceError(f"--mailbox {path}: the folder is no Maildir, it has no cur")
    return mailbox.Maildir(path, create=False)


def mailbox_records(
    box: mailbox.Mailbox[mailbox.Message], max_bytes: int, return_path_pattern: str
) -> Iterator[SourceRecord]:
    """Yield a mailbox's mails, those over the limit cut: a report's own part comes first."""
    for key in sorted(box.keys()):
        try:
            mail = box.get_bytes(key)[:max_bytes]
        except (KeyError, OSError):
            continue  # somebody has moved or deleted it meanwhile
        yield SourceRecord(mail, reports.query_headers(mail, {}, return_path_pattern))


@dataclass(slots=True)
class _QueuedMessage:
    """The lines of a message that is in the queue."""

    context: list[str] = field(default_factory=list)
    sender: str = ""
    #: The last line about each recipient that has to wait.
    deferred: dict[str, str] = field(default_factory=dict)


class PostfixLog:
    """Puts the lines of a log together: one record for each delivery, or message that expired."""

    def __init__(self, zone: tzinfo | None = None, return_path_pattern: str = "") -> None:
        """Take the time zone of timestamps that name none; None: that of this machine."""
        self._zone = zone
        self._pattern = return_path_pattern
        self._messages: OrderedDict[str, _QueuedMessage] = OrderedDict()

    def records(self, text: str, latest: datetime) -> Iterator[SourceRecord]:
        """Yield the records that a line completes; it was logged no later than `latest`."""
        line = postfix.parse_line(text)
        if line is None or not line.queue_id:
            return
        message = self._message(line.queue_id)
        if postfix.is_context(line):
            self._add_context(message, line, text)
        elif delivery := postfix.delivery_of(line):
            if postfix.STATUS_KINDS.get(delivery.status) == "deferral":
                message.deferred[delivery.recipient] = text
            else:
                message.deferred.pop(delivery.recipient, None)
            yield self._record(message, [text], line, latest)
        elif postfix.expired_status(line):
            deferred = list(message.deferred.values())
            for start in range(0, len(deferred) or 1, MAX_EXPIRED_RECIPIENTS):
                lines = [*deferred[start : start + MAX_EXPIRED_RECIPIENTS], text]
                yield self._record(message, lines, line, latest)
        elif line.text == "removed":
            del self._messages[line.queue_id]

    def _message(self, queue_id: str) -> _QueuedMessage:
        message = self._messages.setdefault(queue_id, _QueuedMessage())
        self._messages.move_to_end(queue_id)
        if len(self._messages) > MAX_QUEUE_IDS:
            self._messages.popitem(last=False)
        return message

    def _add_context(self, message: _QueuedMessage, line: postfix.LogLine, text: str) -> None:
        if sender := postfix.sender_of(line):
            message.sender = sender
        # A message comes back to the queue with each attempt.
        is_repeated = any(earlier.endswith(line.text) for earlier in message.context)
        if not is_repeated and len(message.context) < MAX_CONTEXT_LINES:
            message.context.append(text)

    def _record(
        self,
        message: _QueuedMessage,
        lines: Sequence[str],
        line: postfix.LogLine,
        latest: datetime,
    ) -> SourceRecord:
        headers = verp_headers([message.sender], self._pattern)
        if time := stamp_time(line.stamp, latest, self._zone):
            headers[postfix.TIME_HEADER] = time.isoformat()
        value = "\n".join([*message.context, *lines])
        return SourceRecord(value.encode("utf-8", "surrogateescape"), headers)


def stamp_time(stamp: str, latest: datetime, zone: tzinfo | None) -> datetime | None:
    """Return the time of a timestamp without a year: the last such time that is not after `latest`.

    `latest` is aware; `zone` is that of the timestamp, None that of this machine. None if the
    timestamp has a year and a zone of its own, or is no time.
    """
    if stamp[0].isdigit():
        return None
    for year in range(latest.year + 1, latest.year - 8, -1):  # a 29 February is one in 8 years
        try:
            local = datetime.strptime(f"{year} {stamp}", "%Y %b %d %H:%M:%S")  # noqa: DTZ007
        except ValueError:
            continue
        time = local.replace(tzinfo=zone) if zone else local.astimezone()
        if time <= latest + _CLOCK_SKEW:
            return time
    return None


def log_lines(source: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a log; bytes that are no UTF-8 stay what they are in the record."""
    for line in source:
        yield line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
