from __future__ import annotations

from datetime import date

import pytest

from projections.queries.listing import Filter
from projections.queries.search import read_search, words_of

TODAY = date(2026, 11, 30)


@pytest.mark.parametrize(
    ("channel", "text", "status"),
    [
        ("email", "Sent", "Sent"), ("email", " bounce ", "Bounce"), ("email", "bounced", "Bounce"),
        ("sms", "REJECTED", "Rejected"), ("sms", "delivery", "Delivered"),
    ],
)  # fmt: skip
def test_a_status_asks_for_its_messages(channel, text, status):
    assert read_search(channel, text, TODAY) == ((Filter("status", "=", status),), "")


def test_a_day_asks_for_all_of_it():
    filters, text = read_search("sms", "yesterday", TODAY)
    assert text == ""
    assert [(each.operator, each.value) for each in filters] == [
        (">=", "2026-11-29T00:00:00"), ("<", "2026-11-30T00:00:00"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "invoice", '"Sent"', "sent invoice", "Rejected x"])
def test_anything_else_is_a_text(text):
    assert read_search("email", text, TODAY) == ((), text)


@pytest.mark.parametrize(
    ("channel", "text", "words"),
    [
        ("email", "family F-1162", ["family", "F-1162"]),
        ("email", '"hugo  carter"', ["hugo  carter"]),
        ("email", "550 5.1.1", ["550", "5.1.1"]), ("email", "\u2003", ["\u2003"]),
        ("sms", "(202) 555-0105", ["2025550105"]), ("sms", "+1 202 555 0105", ["12025550105"]),
        ("sms", "07700 900123", ["7700900123"]), ("sms", "30007", ["30007"]),
        ("email", "(202) 555-0105", ["(202)", "555-0105"]),
    ],
)  # fmt: skip
def test_a_text_is_searched_word_by_word(channel, text, words):
    assert words_of(channel, text) == words
