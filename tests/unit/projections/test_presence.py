"""Presence bits: what is asked of bits is what would be asked of the folds."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from projections.presence import PRESENCE, any_of, is_late, none_of, possible_folds
from projections.presence import with_presence_bits as with_bits
from projections.tables import projections

LOG = projections()["email_log"]
#: Three folds, each with its bit.
BITS = {fold.name.removesuffix("_packed"): 1 << n for n, fold in enumerate(LOG.presence_folds)}
BITS = {name: BITS[name] for name in ("sent_at", "open_at", "bounce")}
SENT, OPENED, BOUNCED = (LOG.presence_folds[bit.bit_length() - 1].present for bit in BITS.values())


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (SENT, "sent"),
        (~SENT, "not sent"),
        (~SENT & ~OPENED, "not sent and not opened"),
        (~SENT & ~OPENED & ~BOUNCED, "not (sent or opened or bounced)"),
        (SENT | OPENED, "sent or opened"),
        (~(SENT | OPENED), "not (sent or opened)"),
        (SENT & OPENED, "sent and opened"),
        (SENT & ~OPENED, "sent and not opened"),
        (~(SENT & OPENED) | BOUNCED, "not (sent and opened) or bounced"),
    ],
)
def test_a_condition_on_bits_is_that_on_the_folds(condition, words):
    asked = with_bits(LOG, condition)
    for has in product([False, True], repeat=3):
        row = {PRESENCE: sum(bit for bit, one in zip(BITS.values(), has, strict=True) if one)}
        names = dict(zip(("sent", "opened", "bounced"), has, strict=True))
        assert asked.evaluate(row) == eval(words, names), has


def test_any_and_none_of_some_bits():
    for bits, mask in product(range(8), range(1, 8)):
        assert any_of(mask).evaluate({PRESENCE: bits}) == bool(bits & mask)
        assert none_of(mask).evaluate({PRESENCE: bits}) == (not bits & mask)


@pytest.mark.parametrize("log", projections().values(), ids=lambda log: log.name)
def test_a_state_is_late_if_it_has_something_late_and_no_begin(log):
    masks = {fold.name: 1 << place for place, fold in enumerate(log.presence_folds)}
    begin, late = masks[log.begin_fold.name], [masks[fold.name] for fold in log.late_folds]
    looks_late = is_late(log)
    assert not looks_late(0)
    assert not looks_late(begin)
    for some in (*combinations(late, 1), *combinations(late, 2)):
        assert looks_late(sum(some))
        assert not looks_late(sum(some) | begin)
    others = set(masks.values()) - {begin, *late}
    assert not any(map(looks_late, others))


@pytest.mark.parametrize("log", projections().values(), ids=lambda log: log.name)
def test_folds_without_their_bit_have_nothing(log):
    everything = (1 << len(log.presence_folds)) - 1
    assert possible_folds(log, everything) == list(log.folds)
    for place, fold in enumerate(log.presence_folds):
        assert fold in possible_folds(log, 1 << place)
        without = [each.name for each in possible_folds(log, everything & ~(1 << place))]
        assert without == [each.name for each in log.folds if each.name != fold.name]
