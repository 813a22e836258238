"""What a mailer needs of Sendlog: events out, retry requests in, the blacklist at hand.

with mailer_client(load().kafka, group="my-mailer") as client:
    client.publish(sent(address, "invoice-7", now, subject="Invoice 7"))
    client.run(make_attempt, stop)
"""

from processor.client.blacklist import Blacklist, BlacklistNotReadError
from processor.client.events import (
    MailerEvent,
    attempt_sent,
    mailer_event,
    not_sent,
    provider_id_note,
    resend_refused,
    sent,
)
from processor.client.mailer import MailerClient, mailer_client
from processor.client.requests import MadeRetries, RecentIds
from schemas.addresses import Address
from schemas.decisions import ResendRequested, RetryRequested, Suppression

__all__ = [
    "Address",
    "Blacklist",
    "BlacklistNotReadError",
    "MadeRetries",
    "MailerClient",
    "MailerEvent",
    "RecentIds",
    "ResendRequested",
    "RetryRequested",
    "Suppression",
    "attempt_sent",
    "mailer_client",
    "mailer_event",
    "not_sent",
    "provider_id_note",
    "resend_refused",
    "sent",
]  # fmt: skip
