"""The reason of a row in plain words, and what to do."""

from __future__ import annotations

import pytest

from projections.queries.plain_reasons import FAILURE_STATUSES, plain_reason, reason_with_code
from projections.tables import log_of
from schemas.reasons import default_reasons

REASONS = default_reasons()


def row(status, reason, **fields):
    return {
        "status": status, "status_reason": reason, "provider": "", "reason_code": "",
        "diagnostic": "", **fields,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("channel", "message", "cause"),
    [
        ("sms", row("Undelivered", "number wrong, unsuitable or out of reach: 30006",
                    provider="twilio", reason_code="30006"), "landline"),
        ("sms", row("Failed", "opted out: BLOCKED", provider="aws_sms", reason_code="BLOCKED"),
         "opted_out"),
        ("sms", row("Rejected", "stopped by the carrier"), "carrier_refused"),
        ("sms", row("Undelivered", "number wrong, unsuitable or out of reach"), "not_reached"),
        ("sms", row("Undelivered", "expired before it was delivered"), "expired"),
        ("email", row("Bounce", "550 5.1.1 mailbox does not exist", bounce_class="hard",
                      smtp_code=550, enhanced_status="5.1.1"), "mailbox_unknown"),
        ("email", row("Invalid", "refused, blacklisted: hard_bounce", enhanced_status="5.2.2"),
         "blacklisted"),
        ("email", row("Skipped", "skipped, opted out"), "unsubscribed"),
        ("email", row("Bounce", "not sent: broken template", diagnostic="broken template"),
         "not_sent"),
    ],
)  # fmt: skip
def test_a_failure_has_a_cause_with_its_words_and_advice(channel, message, cause):
    reason = plain_reason(channel, message)
    expected = REASONS.causes[cause]
    assert reason == (expected.words, expected.advice, expected)


def test_an_email_that_waits_for_another_attempt_needs_no_action():
    message = row("Sent", "soft bounce of attempt 1: 452 4.2.2 mailbox full",
                  bounce_class="soft", enhanced_status="4.2.2")  # fmt: skip
    reason = plain_reason("email", message)
    assert reason.words == "Their mailbox is full"
    assert reason.advice == "It is tried again by itself; there is nothing to do yet."
    deferred = row("Sent", "deferred: 550 5.1.1 mailbox does not exist", enhanced_status="5.1.1")
    assert plain_reason("email", deferred).cause == REASONS.causes["temporary"]


def test_what_did_not_fail_has_no_cause_also_after_a_failed_attempt():
    opened = row("Open", "a person opened it", bounce_class="soft", enhanced_status="4.2.2")
    assert plain_reason("email", opened) == ("They opened it", "Nothing to do.", None)
    parts = plain_reason("sms", row("Sent", "1 of 3 parts delivered"))
    assert parts.words == "1 of 3 parts delivered"
    assert parts.cause is None


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_every_status_is_a_failure_or_has_advice(channel):
    for status in dict.fromkeys(rule.status for rule in log_of(channel).rules):
        reason = plain_reason(channel, row(status, "any"))
        assert reason.advice
        assert (reason.cause is None) == (status not in FAILURE_STATUSES)


@pytest.mark.parametrize(
    ("channel", "message", "text"),
    [
        ("sms", row("Undelivered", "number wrong, unsuitable or out of reach: 30005",
                    provider="twilio", reason_code="30005"), "This number is not in use (30005)"),
        ("sms", row("Rejected", "stopped by the carrier"), "The phone company refused the message"),
        ("sms", row("Failed", "the provider could not send it: 77", reason_code="77"),
         "the provider could not send it: 77"),
        ("sms", row("Sent", "handed to the carrier"), "handed to the carrier"),
        ("email", row("Bounce", "550 5.1.1 mailbox does not exist", bounce_class="hard",
                      enhanced_status="5.1.1"), "550 5.1.1 mailbox does not exist"),
    ],
)  # fmt: skip
def test_a_reason_for_the_command_line_keeps_the_code(channel, message, text):
    assert reason_with_code(channel, message) == text
