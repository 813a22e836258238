"""Causes of failures in plain words: the data, and how a cause is found."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from projections.tables import log_of
from schemas.events import BounceClass
from schemas.providers import adapters, normalise
from schemas.reasons import Reasons, default_reasons, explain_code
from schemas.smtp_replies import STATUS_MEANINGS
from tests.contract.test_providers import CASES, RECORDED_AT
from tests.paths import ROOT

REASONS = default_reasons()
SMS_FAILURES = {"undelivered", "rejected", "failed", "expired", "opt_out"}
EMAIL_FAILURES = {"bounce", "deferral", "invalid", "skipped", "failure"}
#: Codes of the examples that their provider documents as unknown, or that do not exist.
UNEXPLAINED = {
    ("aws_sms", "FAILED"), ("aws_sms", "FAILURE"), ("bandwidth", "4999"), ("bandwidth", "9999"),
    ("clickatell", "7"), ("clickatell", "23"), ("infobip", "990"), ("messagebird", "255"),
    ("messagebird", "301"), ("plivo", "1000"), ("sinch", "349"), ("sinch", "399"),
    ("telnyx", "49999"), ("twilio", "30008"), ("vonage", "1"), ("vonage", "99"),
    ("vonage", "1330"),
}  # fmt: skip
#: Words of the trade, which mean nothing at a front desk.
JARGON = re.compile(
    r"\b(smtp|dns|spf|dkim|dmarc|carrier|handset|subscriber|msisdn|api|code|server|bounce[sd]?"
    r"|hard|soft|payload|domain|mta|smsc|route[sd]?|throttl\w*|endpoint|recipient)\b",
    re.IGNORECASE,
)


def failures(channel):
    for name, case in CASES.items():
        if channel != adapters()[case["provider"]].CHANNEL:
            continue
        headers, payload = case.get("headers") or {}, case["payload"].encode()
        for event in normalise(case["provider"], payload, headers, RECORDED_AT):
            if event.kind in (SMS_FAILURES if channel == "sms" else EMAIL_FAILURES):
                yield name, event


def explained(event, rule=""):
    return explain_code(
        event.channel, event.provider, event.reason_code, event.enhanced_status, event.smtp_code,
        event.bounce_class or "", diagnostic=event.diagnostic, rule=rule,
    )  # fmt: skip


def test_no_code_of_an_sms_example_is_without_a_cause():
    codes = [event for _, event in failures("sms") if event.reason_code]
    assert len(codes) > 100
    unexplained = {
        (event.provider, event.reason_code) for event in codes
        if event.provider != "smpp" and explained(event).name == "unknown"
    }  # fmt: skip
    assert unexplained == UNEXPLAINED


def test_every_bounce_of_an_example_has_a_cause_of_its_class():
    bounces = [(name, event) for name, event in failures("email") if event.kind == "bounce"]
    assert len(bounces) > 100
    for name, event in bounces:
        cause = explained(event)
        if event.bounce_class == "undetermined":
            continue
        assert event.bounce_class in cause.classes, (name, cause.name)


@pytest.mark.parametrize("provider", sorted(REASONS.codes))
def test_every_code_that_an_adapter_knows_has_a_cause(provider):
    adapter = adapters()[provider]
    tables = [
        getattr(adapter, name) for name in dir(adapter)
        if name in {"ERROR_KINDS", "RECEIPT_ERROR_KINDS", "MESSAGES_ERROR_KINDS", "REASON_KINDS"}
    ]  # fmt: skip
    if provider in {"infobip", "messagebird"}:
        # Their tables are of names and of texts; codes are the keys that are numbers.
        tables = [{code for code in table if str(code).isdecimal()} for table in tables]
    for code in (str(code) for table in tables for code in table):
        if code not in {"400", "401"}:  # Sinch: queued, and sent
            assert code in REASONS.codes[provider], code


def test_every_meaning_of_an_enhanced_status_has_a_cause():
    for status in STATUS_MEANINGS:
        if status.split(".")[1] != "0":
            assert explain_code("email", enhanced_status=status).name != "unknown", status


@pytest.mark.parametrize("bounce_class", get_args(BounceClass))
def test_every_class_of_bounce_has_a_cause(bounce_class):
    cause = explain_code("email", bounce_class=bounce_class)
    assert bounce_class in cause.classes


@pytest.mark.parametrize(
    ("provider", "code", "cause"),
    [
        ("twilio", "30003", "unreachable"), ("twilio", "30005", "number_unknown"),
        ("twilio", "30006", "landline"), ("twilio", "30007", "spam"),
        ("twilio", "30034", "sender_unregistered"), ("plivo", "080", "unreachable"),
        ("vonage", "1240", "opted_out"), ("infobip", "27", "unreachable"),
        ("bandwidth", "4721", "number_unknown"), ("aws_sms", "TTL_EXPIRED", "expired"),
        ("twilio", "99999", "unknown"), ("", "", "unknown"),
    ],
)  # fmt: skip
def test_a_code_is_that_of_its_provider(provider, code, cause):
    assert explain_code("sms", provider, code).name == cause


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"enhanced_status": "5.1.1", "bounce_class": "hard"}, "mailbox_unknown"),
        ({"enhanced_status": "4.2.2", "bounce_class": "soft"}, "mailbox_full"),
        # A code that servers misuse: the class, which rests on the text, rules it out.
        ({"enhanced_status": "5.1.1", "bounce_class": "block"}, "refused"),
        ({"enhanced_status": "5.7.1", "bounce_class": "hard"}, "mailbox_unknown"),
        ({"enhanced_status": "5.7.1", "bounce_class": "block"}, "refused"),
        ({"enhanced_status": "5.7.1", "bounce_class": "block", "diagnostic": "550 5.7.1 Spam!"},
         "spam"),
        ({"provider": "ses", "reason_code": "Transient/MessageTooLarge", "bounce_class": "block"},
         "too_large"),
        ({"smtp_code": 552, "bounce_class": "soft"}, "mailbox_full"),
        ({"rule": "refused, blacklisted", "enhanced_status": "5.1.1"}, "blacklisted"),
        ({"rule": "not sent"}, "not_sent"),
        ({"rule": "not sent", "diagnostic": "the attachment has a virus"}, "content"),
    ],
)  # fmt: skip
def test_an_email_is_explained_by_what_is_most_exact(fields, cause):
    assert explain_code("email", **fields).name == cause


@pytest.mark.parametrize(
    ("rule", "code", "cause"),
    [
        ("opted out", "BLOCKED", "opted_out"), ("stopped by the carrier", "", "carrier_refused"),
        ("stopped by the carrier", "CARRIER_UNREACHABLE", "provider_fault"),
        ("expired before it was delivered", "", "expired"),
    ],
)  # fmt: skip
def test_without_a_code_an_sms_is_explained_by_the_rule(rule, code, cause):
    assert explain_code("sms", "aws_sms", code, rule=rule).name == cause


def test_a_text_is_read_in_whole_words():
    assert explain_code("sms", diagnostic="Blocked as SPAM by phone carrier").name == "spam"
    assert explain_code("sms", diagnostic="spammers.example said no").name == "unknown"


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_every_status_of_a_log_has_a_meaning_in_the_order_of_its_rules(channel):
    statuses = dict.fromkeys(rule.status for rule in log_of(channel).rules)
    assert list(REASONS.statuses[channel]) == list(statuses)


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_every_reason_that_is_named_is_one_of_the_logs_rules(channel):
    texts = " ".join(rule.reason.sql for rule in log_of(channel).rules)
    names = [name.removeprefix("else ") for name in REASONS.rules[channel]]
    for name in (*names, *REASONS.progress[channel]):
        assert f"'{name}'" in texts, name


def test_words_are_short_sentences_without_jargon():
    for cause in REASONS.causes.values():
        assert not cause.words.endswith("."), cause.name
        assert len(cause.words) < 75
        assert not JARGON.search(cause.words + cause.advice), cause.name
        assert cause.advice.endswith(".")
        assert len(re.findall(r"[.!?](?:\s|$)", cause.advice)) == 1, cause.name
    for table in REASONS.progress.values():
        assert not [words for words in table.values() if JARGON.search(words)]
    for meanings in REASONS.statuses.values():
        for status, meaning in meanings.items():
            assert not JARGON.search(meaning.words + meaning.advice), status


def test_every_cause_is_used():
    used = {
        cause.name
        for tables in (REASONS.codes, REASONS.rules)
        for table in tables.values()
        for cause in table.values()
    }
    used |= {cause.name for cause in [*REASONS.enhanced.values(), *REASONS.general.values()]}
    used |= {cause.name for cause in REASONS.classes.values()}
    assert used == set(REASONS.causes)


def test_codes_of_a_provider_are_of_causes_of_its_channel():
    for provider, table in REASONS.codes.items():
        channel = adapters()[provider].CHANNEL
        assert all(channel in cause.channels for cause in table.values()), provider


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("[codes.plivo]\n", "[codes.plivo]\nbarred = ['50']\n"), "'50' twice"),
        (('opted_out = ["200"]', "opted_oot = ['200']"), "'opted_oot'"),
        (('channels = ["sms"]', "channels = ['fax']"), "fax"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_named(change, error):
    source = (ROOT / "schemas" / "reasons.toml").read_text("utf-8")
    assert change[0] in source
    with pytest.raises(ValueError, match=error):
        Reasons.parse(source.replace(*change, 1))
