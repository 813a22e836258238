"""Bounces are classified by code, then by text, then by label."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.bounces import BounceRules, classify_bounce, default_rules
from schemas.smtp_replies import STATUS_MEANINGS, describe_codes, find_codes, leading_status

HARD = "5.1.0 5.1.1 5.1.2 5.1.3 5.1.6 5.1.10 5.2.1 5.7.13 5.4.4 5.7.17 5.7.18"
SOFT = "5.2.2 4.2.2 4.0.0 4.1.1 4.3.2 4.4.1 4.4.2 4.4.5 4.4.7 5.4.7 4.7.0 4.7.1 4.7.28 4.5.3 5.5.3"
BLOCK = "5.2.3 5.3.4 5.6.0 5.6.1 5.6.7 5.7.0 5.7.1 5.7.20 5.7.23 5.7.26 5.7.27 5.7.509"
TABLE = [
    (code, name)
    for name, codes in (("hard", HARD), ("soft", SOFT), ("block", BLOCK))
    for code in codes.split()
]


@pytest.mark.parametrize(("code", "expected"), TABLE)
@pytest.mark.parametrize("label", ["hard", "soft", "block", "undetermined", None])
def test_a_listed_code_decides_whatever_the_label_says(code, expected, label) -> None:
    verdict = classify_bounce(code, None, "", label)
    assert (verdict.bounce_class, verdict.classified_by) == (expected, "code")


@pytest.mark.parametrize(
    "code", ["5.0.0", "5.3.0", "5.3.2", "5.4.1", "5.4.0", "5.5.0", "5.5.1", ""]
)
@pytest.mark.parametrize("label", ["hard", "soft", "block", "undetermined"])
def test_a_code_that_says_nothing_leaves_it_to_the_label(code, label) -> None:
    verdict = classify_bounce(code, 554, "554 delivery error", label)
    assert (verdict.bounce_class, verdict.classified_by) == (label, "label")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("550 user unknown", "hard"),
        ("550 No Such User here", "hard"),
        ("smtp; 550 <a@example.org>: User unknown in virtual mailbox table", "hard"),
        ("550 Recipient a@example.org does not exist", "hard"),
        ("550 sorry, no mailbox\n here by that name", "hard"),
        ("554 account has been disabled", "hard"),
        ("552 mailbox full", "soft"),
        ("maximum number of delivery attempts (18) has been reached", "soft"),
        ("550 blocked using a list", "block"),
        ("554 identified as spam", "block"),
    ],
)
@pytest.mark.parametrize("code", ["5.0.0", "5.3.0", ""])
@pytest.mark.parametrize("label", ["hard", "soft", None])
def test_the_text_decides_where_no_code_does(text, expected, code, label) -> None:
    verdict = classify_bounce(code, None, text, label)
    assert (verdict.bounce_class, verdict.classified_by) == (expected, "text")


def test_a_phrase_fits_whole_words_only() -> None:
    assert classify_bounce("", 550, "superuser unknowns", "soft").classified_by == "label"


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("5.5.0", "550 5.5.0 Requested action not taken: Mailbox unavailable", "hard"),
        (
            "5.4.1",
            "550 5.4.1 Recipient address rejected: Access denied. [x.prod.protection.outlook.com]",
            "hard",
        ),
    ],
)
def test_a_code_means_more_together_with_its_text(code, text, expected) -> None:
    assert classify_bounce(code, 550, text, "soft").bounce_class == expected
    assert classify_bounce(code, 550, "anything else", "soft").bounce_class == "soft"


def test_the_code_is_read_from_the_text_where_the_provider_gives_none() -> None:
    assert classify_bounce(text="smtp; 550 5.1.1 gone").bounce_class == "hard"
    assert classify_bounce("5.0.0", text="550-5.7.1 no").bounce_class == "block"


@pytest.mark.parametrize("smtp", [421, 450, 451, 452])
def test_a_temporary_reply_alone_is_soft(smtp) -> None:
    assert classify_bounce("", smtp, "", "hard").bounce_class == "soft"


def test_a_sender_side_block_is_never_hard() -> None:  # 5.7.x blacklisted the recipient elsewhere
    verdict = classify_bounce("5.7.1", 550, "550 5.7.1 user unknown to reputation service", "hard")
    assert verdict.bounce_class == "block"


def test_a_transient_label_with_an_unroutable_domain_is_hard() -> None:
    assert classify_bounce("5.4.4", 550, "550 5.4.4 Invalid domain", "soft").bounce_class == "hard"


def test_a_reason_says_that_the_label_was_overruled() -> None:
    assert classify_bounce("5.1.1", 550, "", "soft").reason == (
        "550 5.1.1 mailbox does not exist (the label, soft, was overruled)"
    )
    assert classify_bounce("5.1.1", 550, "", "hard").reason == "550 5.1.1 mailbox does not exist"
    assert (
        classify_bounce("", None, "No such user", "hard").reason == 'the text says "no such user"'
    )


def test_nothing_known_is_undetermined() -> None:
    verdict = classify_bounce()
    assert (verdict.bounce_class, verdict.classified_by) == ("undetermined", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smtp; 550 5.1.1 user unknown", (550, "5.1.1")),
        ("smtp;550 5.1.1 user unknown", (550, "5.1.1")),
        ("550 5.1.1 user unknown", (550, "5.1.1")),
        ("550-5.7.1 [198.51.100.9      12] Our system", (550, "5.7.1")),
        ("550 #5.1.0 Address rejected", (550, "5.1.0")),
        ("554 Message refused (#5.7.1)", (554, "5.7.1")),
        ("550 Blocked (5.7.509)", (550, "5.7.509")),
        ("(550 5.2.1 disabled)", (550, "5.2.1")),
        ("'421 4.7.0 [TSS04] deferred - 4.16.55.1; see https://x.example'", (421, "4.7.0")),
        ("host mx.example[198.51.100.5] said: 550 5.1.1 <a@b.example>: gone", (550, "5.1.1")),
        ("host mx.example[198.51.100.5] said: 554 no thanks", (554, "")),
        ("SMTP error from remote server after RCPT TO:<a@b.example>: 550 no", (550, "")),
        ("Giving up: 421 4.4.2 connection dropped", (421, "4.4.2")),
        ("250 2.0.0 OK  1709283605 a640c23a-4.5.6 - gsmtp", (250, "2.0.0")),
        ("250 ok", (250, "")),
        ("250", (250, "")),
        ("550", (550, "")),
        ("5.1.1 user unknown", (None, "5.1.1")),
        ("smtp; 5.4.7 expired", (None, "5.4.7")),
        ("x-unix; status: 5.3.0", (None, "5.3.0")),
        ("550 no such host, status=5.1.2", (550, "5.1.2")),
        ("550-5.1.1 The account\n550 5.1.1 does not exist", (550, "5.1.1")),
        ("550 5.1.10 RESOLVER.ADR.RecipientNotFound", (550, "5.1.10")),
    ],
)
def test_codes_are_read_from_a_reply(text, expected) -> None:
    assert find_codes(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "user unknown",
        "connected to 5.1.1.10 in vain",
        "[5.1.1.10] refused",
        "on 5.1.24 at 10:00 we gave up",
        "on 5.1.2024 we gave up",
        "message 550.5.1.1.x@mx.example was returned",
        "id <20250506.550.5.1.1@mx.example>",
        "Postfix 2.11.3 on 4.94.2 says no",
        "message of 550 kB is too large",
        "gave up after 500 seconds",
        "ticket ABC-550 opened",
        "call +44 550 123",
        "4.16.55.1",
        "5.1.1@example.org is not ours",
    ],
)
def test_numbers_that_are_no_codes_are_left_alone(text) -> None:
    assert find_codes(text) == (None, "")


@pytest.mark.parametrize(
    "text", ["550 rejected, try 5.1.1.10", "550 Exim 4.94.2 is old", "550 policy of 2.5.1 applies"]
)
def test_a_status_of_another_class_or_an_address_is_not_the_status_of_a_reply(text) -> None:
    assert find_codes(text) == (550, "")


@given(st.text())
def test_any_text_can_be_searched_and_classified(text) -> None:
    smtp, enhanced = find_codes(text)
    assert smtp is None or 200 <= smtp < 600
    assert enhanced == "" or leading_status(enhanced) == enhanced
    assert classify_bounce(text=text).bounce_class in ("hard", "soft", "block", "undetermined")


@given(st.from_regex(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True), st.text(max_size=40))
def test_a_4_is_soft_and_a_class_rests_on_something(code, text) -> None:
    verdict = classify_bounce(code, None, text)
    assert verdict.reason
    if code.startswith("4") and code[2:] != "5.0":
        assert verdict.bounce_class == "soft"


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ("5.1.1", "5.1.1"),
        (" 5.1.1 (bad destination mailbox address)", "5.1.1"),
        ("5.1.1.10", ""),
        ("failed", ""),
        ("", ""),
    ],
)
def test_a_status_field_holds_a_status_or_nothing(field, status) -> None:
    assert leading_status(field) == status


def test_every_code_of_the_rules_has_a_meaning_in_plain_words() -> None:
    for code in default_rules().codes:
        if code.count(".") == 2 and not code.endswith("x"):
            assert STATUS_MEANINGS[code.replace("x", "5")]
    assert all(
        meaning[:1].islower() or meaning[:3].isupper() for meaning in STATUS_MEANINGS.values()
    )


def test_codes_are_described_in_plain_words() -> None:
    assert describe_codes(550, "5.1.1") == "550 5.1.1 mailbox does not exist"
    assert describe_codes(None, "5.2.2") == "5.2.2 mailbox full"
    assert describe_codes(550, "5.7.509") == "550 5.7.509 refused"
    assert describe_codes(421) == "421 server not available now"
    assert describe_codes(None) == ""


def test_rules_are_versioned() -> None:
    assert default_rules().version >= 1


EXTENSION = """
rules_version = 7
[codes]
"5.4.4" = "soft"
[[hints]]
code = "550"
phrases = ["code red"]
class = "block"
[phrases]
hard = ["gone fishing"]
"""


def test_a_deployment_adds_to_the_rules_and_overrides_them() -> None:
    rules = BounceRules.parse(EXTENSION, default_rules())
    assert rules.version == 7
    assert classify_bounce("5.4.4", rules=rules).bounce_class == "soft"
    assert classify_bounce("", 550, "550 Code Red", "hard", rules).bounce_class == "block"
    assert classify_bounce("", 550, "550 gone fishing", "soft", rules).bounce_class == "hard"
    assert classify_bounce("5.1.1", rules=rules).bounce_class == "hard"
    assert classify_bounce("", 550, "550 mailbox full", "hard", rules).bounce_class == "soft"


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("rules_version = 2\n[codes]\n'5.1.1' = 'fatal'", "5.1.1"),
        ("rules_version = 2\n[codes]\n'6.1.1' = 'hard'", "6.1.1"),
        ("rules_version = 2\n[code]\n'5.1.1' = 'hard'", "code"),
        ("[codes]\n'5.1.1' = 'hard'", "rules_version"),
        ("rules_version = 2\n[phrases]\nhard = []", "phrases.hard"),
        ("rules_version = 2\n[phrases]\nhard = ['no']", "phrases.hard.0"),
    ],
)
def test_a_wrong_rule_is_named(toml, named) -> None:
    with pytest.raises(ValidationError, match=named):
        BounceRules.parse(toml)


def test_a_broken_file_is_refused() -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        BounceRules.parse("[codes")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("5.7.13", "hard"),
        ("5.9.13", "soft"),
        ("5.7.1", "block"),
        ("5.9.9", "hard"),
        ("5.8.3", "soft"),
        ("5.8.4", "block"),
        ("4.8.3", "soft"),
    ],
)
def test_the_most_exact_pattern_decides(code, expected) -> None:
    rules = BounceRules.parse(
        "rules_version = 1\n[codes]\n"
        "'5.x.x' = 'hard'\n'5.7.x' = 'block'\n'x.9.13' = 'soft'\n'5.7.13' = 'hard'\n"
        "'5.8.x' = 'block'\n'x.8.3' = 'soft'"
    )
    assert classify_bounce(code, rules=rules).bounce_class == expected


REPLIES = [
    # the sender, though the text has a phrase about a recipient
    ("550 5.1.8 <news@example.com>: Sender address rejected: Domain not found", "block"),
    ("550 <news@example.com>: Sender address rejected: User unknown in table", "block"),
    ("550 Verification failed for <news@example.com>; Unrouteable address", "block"),
    ("550 Sender verify failed", "block"),
    ("504 <mail>: Helo command rejected: Host not found", "block"),
    ("550 5.1.0 <news@example.com> sender rejected", "block"),
    ("550 5.1.1 Sender denied as sender's email address is on blocklist", "block"),
    # the sender's server, by many names
    ("554 5.2.1 Your IP address 192.0.2.4 is on our block list", "block"),
    ("550 Rejected: 192.0.2.4 listed at zen.spamhaus.org", "block"),
    ("554 refused, see https://ipcheck.proofpoint.com/?ip=192.0.2.4", "block"),
    ("550 No PTR record for 192.0.2.4", "block"),
    ("554 (CON:B1) see the postmaster's page", "block"),
    ("571 5.7.1 Message refused", "block"),
    ("550 5.7.1 Unfortunately, messages from [192.0.2.4] weren't sent. (S3140)", "block"),
    # its message, and policies
    ("554 5.6.0 Message contains invalid header", "block"),
    ("550 This message was classified as SPAM", "block"),
    ("552 message size exceeds fixed maximum", "block"),
    ("550 Administrative prohibition", "block"),
    # now, whatever the code says
    ("550 5.2.1 The user you are trying to contact is receiving mail at a rate that", "soft"),
    ("552 5.1.1 OFR_417 Overquota", "soft"),
    ("550 mailbox has exceeded its storage limit", "soft"),
    ("554 5.4.4 Host not found, try again", "soft"),
    ("450 4.1.1 user unknown", "soft"),
    ("550 5.1.1 unknown\n552 5.2.2 mailbox full", "soft"),
    ("552 5.3.4 message too large; 451 4.3.0 mail server busy", "soft"),
    ("host mx.example.org[192.0.2.8]: 451 greylisted", "soft"),
    # the recipient
    ("550 5.1.1 The email account that you tried to reach does not exist", "hard"),
    ("550 Requested action not taken: mailbox unavailable", "hard"),
    ("585 5.1.1 No such user here", "hard"),
    ("550 5.2.1 mailbox is disabled", "hard"),
    ("550 5.1.0 Address rejected.", "hard"),
    ("550 Utilisateur inconnu", "hard"),
    ("550 5.1.1 (smtp) Empfänger unbekannt", "hard"),
    ("550 нет такого пользователя", "hard"),
    ("554 delivery error: this user doesn't have an account here", "hard"),
    ("550 5.4.310 DNS domain nowhere.example does not exist", "hard"),
    # for good, and nobody says why
    ("550 refused", "block"),
    ("554 5.0.0 error 17", "block"),
]


@pytest.mark.parametrize(("text", "expected"), REPLIES)
def test_a_reply_is_judged_by_whom_it_is_about(text, expected):
    assert classify_bounce(text=text).bounce_class == expected


def test_what_nothing_names_never_lists_an_address_but_a_label_of_the_provider_counts():
    verdict = classify_bounce(text="550 refused")
    assert verdict.reason.endswith("nothing names the cause")
    assert classify_bounce(text="550 refused", label_class="hard").bounce_class == "hard"


def test_the_last_reply_counts_more_than_the_field_that_was_made_of_it():
    assert classify_bounce("5.1.1", 550, "552 5.2.2 Over quota").bounce_class == "soft"
    assert classify_bounce("5.1.1", 550, "550 5.7.1 blacklisted").bounce_class == "block"


def test_a_hint_may_be_about_several_codes():
    rules = BounceRules.parse(
        'rules_version = 9\n[[hints]]\ncode = ["5.9.1", "5.9.2"]\nphrases = ["gone"]\n'
        'class = "hard"\n',
        default_rules(),
    )
    classes = [classify_bounce(code, text="gone", rules=rules).bounce_class
               for code in ("5.9.1", "5.9.2", "5.9.3")]  # fmt: skip
    assert classes == ["hard", "hard", "block"]


@pytest.mark.parametrize("words", ["a ", "user ", "mailbox "])
def test_a_text_of_one_word_over_and_over_is_read_only_once(words) -> None:
    text = words * 200_000  # by the square of it this would take hours
    assert classify_bounce(text=text).bounce_class == "undetermined"
    assert classify_bounce(text=text + "user unknown").bounce_class == "hard"
