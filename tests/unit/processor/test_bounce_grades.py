"""Bounce rules are graded by what became of addresses, and better ones proposed."""

from __future__ import annotations

import pytest

from processor.bounce_grades import common_words, grades_of, proposed_rules
from schemas.bounces import BounceRules, classify_bounce, default_rules


def row(diagnostic, addresses, *, recovered=0, failing=0, status="", smtp=550):
    """Return a row of outcomes; of the addresses the first ones recovered, then those failing."""
    return {
        "provider": "postal", "smtp_code": smtp, "enhanced_status": status,
        "reason_code": "HardFail", "diagnostic": diagnostic, "label": "",
        "addresses": list(range(addresses)), "recovered": list(range(recovered)),
        "failing": list(range(recovered, recovered + failing)),
    }  # fmt: skip


def graded(*rows):
    return grades_of(rows, default_rules())


def proposed(*rows, min_addresses=5):
    return proposed_rules(graded(*rows), 7, min_addresses)


def test_addresses_are_counted_once_by_what_decided_their_class():
    (grade,) = graded(
        row("550 5.1.1 user unknown at host-1", 4, status="5.1.1", recovered=1),
        row("550 5.1.1 no such user", 6, status="5.1.1", recovered=2),
    )
    assert (grade.addresses, grade.recovered, grade.failing) == (6, 2, 0)
    assert grade.basis == "5.1.1"


def test_who_recovered_from_one_reply_is_not_failing_by_another():
    (grade,) = graded(
        row("550 user unknown", 5, recovered=2, failing=0),
        row("550 User unknown in relay table", 5, recovered=0, failing=3),
    )
    assert (grade.recovered, grade.failing) == (2, 1)


def test_a_code_that_lists_healthy_addresses_is_proposed_as_a_block():
    text = proposed(row("550 5.1.3 no", 10, status="5.1.3", recovered=4))
    assert '"5.1.3" = "block"  # 4 of 10 addresses recovered' in text
    rules = BounceRules.parse(text, default_rules())
    assert rules.version == 8
    assert classify_bounce("5.1.3", 550, "550 5.1.3 no", None, rules).bounce_class == "block"


def test_a_phrase_that_lists_healthy_addresses_is_proposed_as_a_block():
    rules = BounceRules.parse(proposed(row("550 No such user", 8, recovered=8)), default_rules())
    assert classify_bounce(text="550 no such user", rules=rules).bounce_class == "block"


def test_a_code_with_a_phrase_is_proposed_as_a_hint():
    text = "550 5.7.1 no such user"
    rules = BounceRules.parse(proposed(row(text, 9, status="5.7.1", recovered=5)), default_rules())
    assert classify_bounce("5.7.1", 550, text, None, rules).bounce_class == "block"
    assert classify_bounce("5.0.0", 550, "550 no such user", None, rules).bounce_class == "hard"


def test_words_of_refusals_that_never_end_are_proposed_as_hard():
    rows = [row(f"550 <p{n}@example.org>: left our parish for ever", 5, failing=5)
            for n in range(3)]  # fmt: skip
    text = proposed(*rows)
    assert '"left our parish for ever",  # 5 of 5 addresses never recovered' in text
    rules = BounceRules.parse(text, default_rules())
    verdict = classify_bounce(text="550 <li@example.org>: left our parish for ever", rules=rules)
    assert verdict.bounce_class == "hard"


def test_a_full_mailbox_that_stays_full_is_proposed_as_hard():
    text = proposed(row("552 5.2.2 full", 6, status="5.2.2", smtp=552, failing=6))
    assert '"5.2.2" = "hard"' in text


@pytest.mark.parametrize(
    "outcome",
    [
        row("550 5.1.1 gone", 4, status="5.1.1", recovered=4),  # too few
        row("550 5.1.1 gone", 20, status="5.1.1", recovered=2),  # a tenth may recover
        row("550 5.1.1 gone", 20, status="5.1.1", failing=20),  # as it should be
        row("552 5.2.2 full", 20, status="5.2.2", smtp=552, failing=19, recovered=1),
        row("552 5.2.2 full", 20, status="5.2.2", smtp=552, failing=17),
        row("550 5.7.1 spam", 20, status="5.7.1", failing=20),  # about the sender
        row("550 5550", 20, failing=20),  # no words
    ],
)
def test_nothing_is_proposed_where_the_rules_were_right_or_too_little_is_known(outcome):
    assert proposed(outcome) == ""


def test_the_words_of_a_reply_are_those_that_others_share():
    assert common_words("550 5.0.0 <jo@example.org> (id 4711) left us in spring, sorry [x-1]") == (
        "left us in"
    )
    assert common_words("554 no") == ""
    assert common_words("") == ""
