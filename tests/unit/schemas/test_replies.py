"""The bounce rules against what mail servers say: how often they are right, class by class."""

from __future__ import annotations

import tomllib
from collections import Counter
from typing import get_args

import pytest

from schemas.bounces import classify_bounce
from schemas.events import BounceClass
from tests.paths import DATA

SYSTEMS = tomllib.loads((DATA / "replies.toml").read_text("utf-8"))["system"]
CLASSES = ("hard", "soft", "block")
REPLIES = [
    (system["name"], expected, reply)
    for system in SYSTEMS for expected in CLASSES for reply in system[expected]
]  # fmt: skip
#: A healthy address that is called hard is never written to again: nearly none may be.
MIN_PRECISION = {"hard": 0.99, "soft": 0.95, "block": 0.93}
MIN_RECALL = {"hard": 0.95, "soft": 0.95, "block": 0.97}


@pytest.mark.parametrize("label", [None, "refused", "hard"])
def test_the_rules_judge_what_servers_say_as_their_documentation_does(label):
    verdicts = [
        (expected, classify_bounce(text=reply, label_class=label).bounce_class, name, reply)
        for name, expected, reply in REPLIES
    ]
    counts = Counter((expected, given) for expected, given, *_ in verdicts)
    wrong = [row for row in verdicts if row[0] != row[1]]
    for name in CLASSES:
        given = sum(counts[expected, name] for expected in CLASSES)
        expected = sum(counts[name, other] for other in get_args(BounceClass))
        precision, recall = counts[name, name] / given, counts[name, name] / expected
        print(f"{name:<6} of {expected:>3} replies: precision {precision:.3f}, recall {recall:.3f}")
        if label != "hard":
            assert precision >= MIN_PRECISION[name], wrong
            assert recall >= MIN_RECALL[name], wrong
        elif name == "hard":
            # A label that is wrong about every refusal decides only where nothing else does.
            assert precision >= 0.9, wrong
            assert recall >= 0.95, wrong


def test_there_are_replies_of_every_class_and_system():
    assert len(REPLIES) >= 400
    assert len({reply for *_, reply in REPLIES}) == len(REPLIES)
    assert all(system["source"] for system in SYSTEMS)
