"""Records of tests, that know their place, as the chunks that a worker has of them."""

from __future__ import annotations

import json

from processor.kafka.records import Chunk


def chunk_of(records):
    """Return records of one partition as a chunk."""
    return Chunk(records[0].topic, records[0].partition, records)


def ses_bounce(recipients, subject):
    """Return a bounce of SES of one message to many."""
    addresses = [f"r-{n}@example.com" for n in range(recipients)]
    return json.dumps({
        "notificationType": "Bounce",
        "bounce": {
            "bounceType": "Permanent", "bounceSubType": "General",
            "timestamp": "2026-11-01T10:00:00.000Z", "feedbackId": "f-1",
            "bouncedRecipients": [{"emailAddress": address} for address in addresses],
        },
        "mail": {
            "timestamp": "2026-11-01T09:59:00.000Z", "messageId": "ses-1",
            "destination": addresses[:1], "commonHeaders": {"subject": subject},
        },
    }).encode()  # fmt: skip
