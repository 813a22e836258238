"""What a reset means, by the rules that hold."""

from __future__ import annotations

import pytest

from schemas.decisions import SUPPRESSION_RULES
from schemas.resets import RULE_RESETS, ResetTerms


def test_every_rule_says_who_ends_it_and_how():
    assert RULE_RESETS.keys() == SUPPRESSION_RULES.keys()
    for reset in RULE_RESETS.values():
        assert not (reset.means and reset.by == "person")
        assert bool(reset.confirmation) == (reset.by == "confirmed")
        assert bool(reset.refusal) == (reset.by != "staff")
        assert reset.person or reset.by != "person"


@pytest.mark.parametrize(
    ("rules", "lifted", "person", "elsewhere"),
    [
        (["hard_bounce"], ("hard_bounce",), 0, 1),
        (["by_hand", "refusals"], ("by_hand", "refusals"), 0, 0),
        (["unsubscribe"], (), 1, 0),
        (["unsubscribe", "echo"], ("echo",), 1, 1),
        (["opt_out"], ("opt_out",), 1, 0),
        (["complaint", "hard_bounce"], ("complaint", "hard_bounce"), 0, 1),
        ([], (), 0, 0),
    ],
)
def test_a_reset_lifts_what_is_not_the_person_s_alone_and_says_the_rest(
    rules, lifted, person, elsewhere
):
    terms = ResetTerms.of(rules)
    assert terms.lifted == lifted
    assert (len(terms.person), len(terms.elsewhere)) == (person, elsewhere)
    assert [text for text in terms.means if text == "Messages are sent again."] == (
        ["Messages are sent again."] if lifted else []
    )
