"""What presence tells of a status holds whatever the status rules say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.expressions import literal
from projections.folds import ALWAYS, fold_events
from projections.presence import PRESENCE, from_presence_alone, with_presence_bits
from projections.status import complete_event, deciding_rule, derived_columns
from projections.tables import StatusRule, projections
from projections.witness import needs_full_fold, witness
from tests import strategies
from tests.strategies import facts

LOGS = list(projections().values())
NAMES = st.sampled_from(["A", "B", "C"])


def conditions(log):
    """Any condition on a state: of presence, of times compared, of numbers."""
    times = [fold.state for fold in log.folds if fold.kind.startswith("Nullable(DateTime")]
    numbers = [fold.state for fold in log.folds if fold.kind == "UInt16"]
    leaves = st.one_of(
        st.sampled_from([fold.present for fold in log.presence_folds]),
        st.builds(lambda one, other: one < other, st.sampled_from(times), st.sampled_from(times)),
        st.builds(lambda one: one > literal(1), st.sampled_from(numbers)),
        st.sampled_from([rule.when for rule in log.rules]),
    )
    return st.recursive(
        leaves,
        lambda inner: (
            st.builds(lambda one: ~one, inner)
            | st.builds(lambda one, other: one & other, inner, inner)
            | st.builds(lambda one, other: one | other, inner, inner)
        ),
        max_leaves=4,
    )


def with_rules(log):
    """A log with any status rules, of which the last always holds."""
    rule = st.builds(StatusRule, status=NAMES, name=st.just("any"), when=conditions(log))
    last = st.builds(StatusRule, status=NAMES, name=st.just("last"), when=st.just(ALWAYS))
    rules = st.tuples(st.lists(rule, min_size=1, max_size=4), last)
    return rules.map(lambda made: replace(log, rules=(*made[0], made[1])))


def states(data, log):
    """The partial states of one message, and the whole."""
    events = [complete_event(e) for e in strategies.complete(data.draw(facts(log.channel)), "t")]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=3)))
    parts = [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True) if a < b]
    return [fold_events(log.folds, part) for part in parts], fold_events(log.folds, events)


def with_bits(log, state):
    """A state with its presence bits, as the engine makes them."""
    bits = (fold.present.evaluate(state) << place for place, fold in enumerate(log.presence_folds))
    return {**state, PRESENCE: sum(bits)}


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_some_partial_state_shows_the_witness_of_a_status(log, data):
    log = data.draw(with_rules(log))
    parts, whole = states(data, log)
    _, rule = deciding_rule(log, whole)
    shows = witness(log, rule.status)
    by_bits = with_presence_bits(log, shows)
    assert any(shows.evaluate(part) for part in parts)
    assert any(by_bits.evaluate(with_bits(log, part)) for part in parts)


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_presence_alone_decides_the_status_of_what_needs_no_full_fold(log, data):
    log = data.draw(with_rules(log))
    _, whole = states(data, log)
    if not needs_full_fold(log).evaluate(whole):
        status = from_presence_alone(log, derived_columns(log)["status"])
        zeros = {fold.name: fold.zero for fold in log.folds}
        alone = {**zeros, PRESENCE: with_bits(log, whole)[PRESENCE]}
        assert status.evaluate(alone) == deciding_rule(log, whole)[1].status


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_of_the_rules_that_are_there_presence_decides_all_but_a_few(log):
    needs = {
        "email_log": {"bounce_packed", "resends", "arrived_at"},
        # Deliveries of parts; failures that a later attempt, or the handset, may have overruled.
        "sms_log": {
            "arrived_at",
            "delivery_at",
            "expired_packed",
            "expired_parts",
            "failed_packed",
            "handset_at",
            "handset_parts",
            "opt_out_packed",
            "part_delivery_at",
            "rejected_packed",
            "resends",
            "undelivered_packed",
            "undelivered_parts",
        },
    }
    assert needs_full_fold(log).columns == needs[log.name]
