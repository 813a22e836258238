from __future__ import annotations

import random
from itertools import permutations

import pytest

from schemas.events import EPOCH
from schemas.identity import (
    MAX_EDGE_DELAY_MS,
    MIN_REUSE_MS,
    Edge,
    Identity,
    contradicting,
    identity_of,
    identity_of_event,
    is_unmatched,
    joined_fields,
)

A, B = "ann@example.com", "ben@example.com"


def edge(message_id, at_ms, recipient=A, *, provider="ses", attempt=1):
    return Edge(provider, message_id, recipient, at_ms, attempt)


def test_without_an_edge_of_its_provider_an_id_is_nobody_s():
    assert identity_of([], "ses", 0) is None
    assert identity_of([edge("m", 0, provider="mailgun")], "ses", 0) is None
    assert identity_of([edge("m", 0, provider="")], "ses", 0) == Identity("m", A, 1)


def test_of_messages_that_claim_an_id_the_earlier_has_it_in_whatever_order():
    claims = [edge("later", 5_000), edge("first", 1_000), edge("last", MIN_REUSE_MS + 1_000)]
    for order in permutations(claims):
        assert identity_of(order, "ses", 9_000).message_id == "first"
        assert contradicting(order) == [claims[0], claims[2]]


def test_an_id_that_is_used_again_is_that_of_its_time():
    again = MIN_REUSE_MS + 1_001
    edges = [edge("old", 1_000), edge("new", again)]
    assert contradicting(edges) == []
    expected = {
        0: "old", again - MAX_EDGE_DELAY_MS - 1: "old", again - MAX_EDGE_DELAY_MS: "new",
        again * 2: "new",
    }  # fmt: skip
    assert {at: identity_of(edges, "ses", at).message_id for at in expected} == expected


@pytest.mark.parametrize(
    ("recipients", "expected"), [([A, A], A), ([A, B], ""), ([A, ""], A), ([""], "")]
)
def test_a_recipient_is_known_if_the_message_has_just_one(recipients, expected):
    edges = [edge("m", at, each) for at, each in enumerate(recipients)]
    edges.append(edge("other", 100, B))
    assert identity_of(edges, "ses", 100) == Identity("m", expected, 1)


def test_the_attempt_is_the_last_that_had_begun_or_else_the_first():
    edges = [edge("m", 10, attempt=2), edge("m", 20, attempt=3)]
    random.Random(1).shuffle(edges)
    attempts = {at: identity_of(edges, "ses", at).attempt for at in (0, 10, 19, 20)}
    assert attempts == {0: 2, 10: 2, 19: 2, 20: 3}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"message_id": "", "provider_message_id": "p"}, True), ({"message_id": ""}, True),
        ({"message_id": "p", "provider_message_id": "p"}, True),
        ({"message_id": "m", "provider_message_id": "p"}, False), ({"message_id": "m"}, False),
    ],
)  # fmt: skip
def test_an_event_is_unmatched_that_names_no_id_of_its_mailer(event, expected):
    assert is_unmatched({**event, "recipient": A}) is expected
    assert is_unmatched({**event, "recipient": ""}) is True


@pytest.mark.parametrize(
    ("event", "edges", "expected"),
    [
        ({"message_id": "p", "recipient": B}, [edge("m", 0, "")], Identity("m", B)),
        ({"message_id": "p", "recipient": ""}, [edge("m", 0)], Identity("m", A)),
        # To whom is not known, or it has gone to two.
        ({"message_id": "p", "recipient": ""}, [edge("m", 0, "")], None),
        ({"message_id": "p", "recipient": ""}, [edge("m", 0), edge("m", 0, B)], None),
        # It names its message, and an edge that stands another.
        ({"message_id": "m", "recipient": ""}, [edge("m", 0)], Identity("m", A)),
        ({"message_id": "n", "recipient": ""}, [edge("m", 0), edge("n", 1, B)], Identity("n", B)),
        ({"message_id": "n", "recipient": ""}, [edge("m", 0)], None),
    ],
)
def test_an_event_is_of_a_message_and_a_recipient_or_of_none(event, edges, expected):
    named = {"provider": "ses", "provider_message_id": "p", "occurred_at": EPOCH, **event}
    assert identity_of_event(named, edges) == expected


def test_what_an_event_says_itself_stays_as_it_joins_its_message():
    event = {"event_id": "e", "message_id": "p", "provider_message_id": "p", "attempt": 3}
    joined = joined_fields(event, Identity("m", B, 2))
    assert joined.pop("event_id") not in {"e", joined_fields(event, Identity("n", A))["event_id"]}
    assert joined == {"message_id": "m", "recipient": B, "attempt": 3, "other_id": "p"}
    del event["attempt"]
    assert joined_fields(event, Identity("m", A, 2))["attempt"] == 2
