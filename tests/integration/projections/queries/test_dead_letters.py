"""Dead letters on the real engine: which are listed, in which order, and their reasons counted."""

from __future__ import annotations

from datetime import timedelta

import pytest

from projections.queries import dead_letters
from projections.queries.dead_letters import LastLetter, LetterPlace
from tests.api import START, empty_api

DATABASE = "dead_letter_queries"
SES, INFOBIP = "email.events.ses", "sms.events.infobip"


@pytest.fixture(scope="module")
def client(engine):
    """A client of a database with letters by their offsets: of each the time it died at."""
    api = empty_api(engine.url, DATABASE)
    for offset, reason, fields in (
        (1, "no JSON", {}),
        (2, "no event", {}),
        (3, "no event", {"source_topic": INFOBIP}),
        (4, "No JSON", {"replayed_at": START}),
        (5, "no event", {"died_at": START + timedelta(seconds=2)}),  # as the second
        (6, "no event", {"element": 3, "source_topic": INFOBIP}),
    ):
        api.add_dead_letter(offset, b"\xff", reason, **fields)
    return api.connect()


def offsets(client, **options):
    rows = dead_letters.list_dead_letters(client, DATABASE, **options)
    return [row["source_offset"] for row in rows]


def test_all_are_listed_the_newest_first_unless_a_limit_is_named(client):
    assert offsets(client) == [6, 3, 2, 5, 1]
    assert offsets(client, limit=2) == [6, 3]
    assert offsets(client, replayed=True) == [6, 4, 3, 2, 5, 1]


def test_they_are_listed_by_topic_and_part_of_the_reason(client):
    assert offsets(client, topic=INFOBIP) == [6, 3]
    assert offsets(client, topic="email") == []
    assert offsets(client, reason="json") == [1]
    assert offsets(client, reason="json", replayed=True) == [4, 1]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_follow_each_other_without_a_gap(client, limit):
    walked, after = [], None
    while rows := list(
        dead_letters.list_dead_letters(client, DATABASE, limit=limit, brief=True, after=after)
    ):
        walked += [row["source_offset"] for row in rows]
        names = ("source_topic", "source_partition", "source_offset", "element")
        place = LetterPlace(*(rows[-1][name] for name in names))
        after = LastLetter(rows[-1]["died_at"], place)
    assert walked == [6, 3, 2, 5, 1]


def test_one_is_found_with_its_bytes_by_its_whole_place(client):
    row = dead_letters.find_dead_letter(client, DATABASE, LetterPlace(INFOBIP, 1, 6, 3))
    assert (row["raw"], row["size"], row["headers"]) == ("/w==", 1, {"h": "v"})
    assert dead_letters.find_dead_letter(client, DATABASE, LetterPlace(INFOBIP, 1, 6)) is None


def test_reasons_are_counted_the_commonest_first(client):
    def counted(**options):
        rows = dead_letters.count_reasons(client, DATABASE, **options)
        return [(row["topic"], row["reason"], row["letters"]) for row in rows]

    now = [(SES, "no event", 2), (INFOBIP, "no event", 2), (SES, "no JSON", 1)]
    assert counted() == now
    assert counted(limit=1) == now[:1]
    assert counted(replayed=True) == [*now[:2], (SES, "No JSON", 1), now[2]]
    [row, *_] = dead_letters.count_reasons(client, DATABASE)
    assert row["latest"] == START + timedelta(seconds=2)
