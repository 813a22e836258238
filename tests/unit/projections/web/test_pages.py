"""What the pages do without a browser and a database: sessions, URLs, charts, texts."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.queries.listing import FILTER_OPERATORS
from projections.queries.search import SEARCHED_COLUMNS
from projections.queries.totals import RowTotal
from projections.tables import projections
from projections.web.log_query import LogRows
from projections.web.pages import charts, labels, overview
from projections.web.pages.dead_letters import hex_dump
from projections.web.pages.marks import SearchMarks
from projections.web.pages.positions import page_position
from projections.web.pages.render import (
    address_excerpt,
    excerpt,
    expandable_text,
    static_files,
    time_element,
    visible_text,
)
from projections.web.pages.url import PageUrl, local_url
from projections.web.sessions import Sessions
from schemas.decisions import SUPPRESSION_RULES, Effect, EntryChange, RuleName
from schemas.events import EventKind


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


def test_a_session_comes_back_from_its_cookie_until_it_ends():
    clock = Clock()
    sessions = Sessions(b"secret", lifetime_seconds=60, clock=clock)
    session = sessions.begin("key")
    cookie = sessions.to_cookie(session)
    assert sessions.read(cookie) == session
    assert Sessions(b"secret", clock=clock).read(cookie) == session  # another process of the secret
    assert Sessions(clock=clock).read(cookie) is None
    clock.now += 61
    assert sessions.read(cookie) is None


def test_an_ended_session_is_over_and_forgotten_when_its_cookie_would_be():
    clock = Clock()
    sessions = Sessions(lifetime_seconds=60, clock=clock)
    first = sessions.begin("key")
    sessions.end(first)
    assert sessions.read(sessions.to_cookie(first)) is None
    clock.now += 61
    sessions.end(sessions.begin("key"))
    assert list(sessions._ended) != [first.nonce]


@given(st.text(max_size=200))
def test_what_is_no_cookie_is_no_session(text):
    assert Sessions(b"secret").read(text) is None


@given(st.integers(min_value=0), st.characters())
def test_an_altered_cookie_is_no_session(place, other):
    sessions = Sessions(b"secret")
    session = sessions.begin("key")
    cookie = sessions.to_cookie(session)
    place %= len(cookie)
    altered = cookie[:place] + other + cookie[place + 1 :]
    # The last digit of base64 has bits that nothing rests on.
    assert sessions.read(altered) in {None, session}


def test_a_token_is_of_one_session():
    sessions = Sessions(b"secret")
    one, other = sessions.begin("key"), sessions.begin("key")
    assert sessions.is_form_token(one, sessions.form_token(one))
    assert not sessions.is_form_token(one, sessions.form_token(other))
    for token in ("", "é\ud800", sessions.to_cookie(one)):
        assert not sessions.is_form_token(one, token)


@pytest.mark.parametrize(
    ("place", "goes"),
    [
        ("/logs/email?q=a%20b", "/logs/email?q=a%20b"), ("/", "/"), ("", "/"), ("logs", "/"),
        ("//evil.example/x", "/"), ("/\\evil.example", "/"), ("https://evil.example", "/"),
        ("/\r\nSet-Cookie: a=b", "/"), ("javascript:alert(1)", "/"),
    ],
)  # fmt: skip
def test_one_is_led_on_only_to_a_page_of_ours(place, goes):
    assert local_url(place) == goes


def test_an_address_is_put_together_of_a_new_filter_and_what_is_not_empty():
    url = PageUrl("/logs/email", (
        ("q", ""), ("filter", "a=1"), ("column", "subject"), ("is", "~"), ("value", " b c "),
    ))  # fmt: skip
    assert str(url.normalised()) == "/logs/email?filter=a%3D1&filter=subject~b+c"
    assert url.normalised().normalised() == url.normalised()
    assert str(url.normalised().without_pairs(("filter", "a=1")).with_values(sort="date")) == (
        "/logs/email?filter=subject~b+c&sort=date"
    )
    assert str(PageUrl("/x", (("a", "1"),)).with_values(a="2").without("a")) == "/x"


@pytest.mark.parametrize(
    ("before", "has_next", "total", "position"),
    [
        (0, True, None, (1, 2, "")), (0, False, None, (1, 2, "2")),
        (50, False, None, (51, 52, "52")),
        (50, True, (837, True), (51, 52, "837")), (0, True, (10_000, False), (1, 2, "over 10,000")),
        (10_400, True, (10_000, False), (10_401, 10_402, "over 10,402")),
        (50, True, (51, True), (51, 52, "")),  # some have gone since
        (None, True, (837, True), None),
    ],
)  # fmt: skip
def test_a_page_says_where_it_is_as_far_as_that_is_known(before, has_next, total, position):
    shown = LogRows([{}, {}], before, "cursor" if has_next else None, None)
    assert page_position(shown, total and RowTotal(*total)) == position
    assert page_position(LogRows([], before, None, None), None) is None


def test_bars_of_a_chart_are_as_high_as_their_counts_and_stand_on_each_other():
    first = date(2026, 11, 1)
    counts = {(first, "Sent"): 30, (first, "Bounce"): 10, (first + timedelta(days=1), "Sent"): 20}
    chart = charts.daily_chart(counts, ("Sent", "Bounce"), first, first + timedelta(days=2))
    assert [column.total for column in chart.columns] == [40, 20, 0]
    sent, bounced = chart.columns[0].blocks
    assert sent.height == pytest.approx(3 * bounced.height, abs=0.2)
    assert bounced.y + bounced.height == pytest.approx(sent.y, abs=0.2)
    assert sent.y + sent.height == pytest.approx(
        charts.CHART_HEIGHT - charts.BOTTOM_MARGIN, abs=0.2
    )
    assert chart.columns[1].blocks[0].height == pytest.approx(2 * sent.height / 3, abs=0.2)
    assert chart.columns[0].summary == "30 Sent, 10 Bounce"
    assert all(
        block.x + block.width <= charts.CHART_WIDTH for c in chart.columns for block in c.blocks
    )


@given(st.integers(min_value=0, max_value=10**12))
def test_the_scale_of_a_chart_is_even_and_not_much_higher_than_the_highest_bar(largest):
    top = charts.scale_maximum(largest)
    assert top % 2 == 0
    assert largest <= top <= max(2, 2 * largest)


def test_shares_fill_their_bar():
    [big, small] = charts.group_shares(
        [("a", "Sent", 1), ("b", "Sent", 3), ("b", "Bounce", 9), ("c", "Sent", 1)][:3],
        ("Sent", "Bounce"), 2,
    )  # fmt: skip
    assert (big.name, big.total, small.name) == ("b", 12, "a")
    assert big.segments == (("Sent", 3, 0.0, 25.0), ("Bounce", 9, 25.0, 75.0))


def test_a_dump_has_every_byte_twice():
    assert hex_dump(b"") == ""
    lines = hex_dump(bytes(range(16)) + b"<b>").split("\n")
    assert lines[0].startswith("000000  00 01 02")
    assert lines[0].endswith("." * 16)
    assert lines[1].split() == ["000010", "3c", "62", "3e", "<b>"]


def test_values_are_shown_as_harmless_text():
    assert visible_text("a\x00b\x7f\u202ec") == "a␀b␡⟨U+202E⟩c"
    assert excerpt("<b>", 2) == "<bdi>&lt;b…</bdi>"
    assert address_excerpt("a@<b>") == "<bdi>a@<wbr>&lt;b&gt;</bdi>"
    assert "<details" in expandable_text("<" * 500)
    assert "&lt;" * 500 in expandable_text("<" * 500)
    assert "<<" not in expandable_text("<" * 500)
    for length in (20, 140, 300):
        assert expandable_text("x" * length, length) == f"<bdi>{'x' * length}</bdi>"
        longer = expandable_text("x" * (length + 1), length)
        assert f"<summary><bdi>{'x' * length}…</bdi></summary>" in longer


def marks(*words, channel="email"):
    return SearchMarks(channel=channel, words=words)


@pytest.mark.parametrize(
    ("words", "text", "html"),
    [
        (["inv"], "Inv <b>INV", "<mark>Inv</mark> &lt;b&gt;<mark>INV</mark>"),
        (["<b>"], "a<B>", "a<mark>&lt;B&gt;</mark>"), (["zoë"], "ZOË", "<mark>ZOË</mark>"),
        (["zoe"], "ZOË", "ZOË"),  # as the search: accents count
        (["ab", "bc"], "xabcx", "x<mark>abc</mark>x"), (["b"], "a\x00b", "a␀<mark>b</mark>"),
        (["i"], "İi", "İ<mark>i</mark>"), (["none"], "abc", "abc"), ([], "a<", "a&lt;"),
        (["ll"], "hello, world", "he<mark>ll</mark>o, wor…"),
        (["world"], "hello, world", "hello, <mark>wor</mark>…"),
    ],
)  # fmt: skip
def test_hits_are_marked_as_the_search_finds_them(words, text, html):
    assert marks(*words).text(text, 10) == f"<bdi>{html}</bdi>"


def test_hits_in_an_address_are_marked_in_what_is_shown_of_it():
    assert marks("BOB@").address("bob@x.example") == ("<bdi><mark>bob@<wbr></mark>x.example</bdi>")
    numbers = marks("7700900123", channel="sms")
    assert numbers.address("+447700900123") == "<bdi>+44<mark>7700900123</mark></bdi>"


def test_a_hit_that_a_row_does_not_show_is_shown_below_it():
    row = dict.fromkeys(SEARCHED_COLUMNS["email"], "") | {
        "recipient": "a@x.example", "subject": "Hello", "status_reason": "550 5.1.1 gone",
        "diagnostic": "x" * 50 + "5.1.1 <gone>" + "y" * 90,
    }  # fmt: skip
    assert marks("hello", "X.EXAMPLE").hidden(row, ["Hello"]) == []
    [(column, text)] = marks("5.1.1", "hello").hidden(row, ["Hello"])
    assert (column, text) == ("status reason", "<bdi>550 <mark>5.1.1</mark> gone</bdi>")
    [(column, text)] = marks("<GONE>").hidden(row, ["Hello"])
    assert column == "diagnostic"
    assert text.startswith(f"<bdi>…{'x' * 24}5.1.1 <mark>&lt;gone&gt;</mark>yyy")
    assert text.endswith("y…</bdi>")


def test_without_a_reader_a_time_is_shown_in_utc():
    there = timezone(timedelta(hours=9))
    element = time_element(datetime(2026, 3, 4, 8, 5, tzinfo=there))
    assert element == (
        '<time datetime="2026-03-03T23:05:00.000Z" title="2026-03-03 23:05:00 UTC">'
        "3 Mar 2026, 23:05</time>"
    )


def test_everything_that_there_is_has_words():
    assert set(labels.KIND_NAMES) == set(get_args(EventKind))
    assert set(SUPPRESSION_RULES) == set(get_args(RuleName))
    assert set(labels.CHANGE_NAMES) == set(get_args(EntryChange))
    assert set(labels.EFFECTS) == set(get_args(Effect))
    assert set(labels.OPERATOR_NAMES) == set(FILTER_OPERATORS)


@pytest.mark.parametrize("log", projections().values(), ids=lambda log: log.name)
def test_every_status_has_its_place_in_the_overview_and_its_colours(log):
    statuses = {rule.status for rule in log.rules}
    assert set(overview._STATUS_ORDER[log.channel]) == statuses
    style = static_files()["sendlog.css"][0].decode()
    for status in statuses:
        assert f"rect.s-{status.lower()}" in style
    for _, counted in overview._STATUS_RATES[log.channel]:
        assert set(counted) <= statuses


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "—"), (1.94, "1.9 s"), (600, "10 min"), (9000, "2 h"), (1e6, "12 d")],
)
def test_time_spans_are_said_shortly(seconds, text):
    assert labels.time_span_text(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (999, "999"), (1500, "1.5k"), (2e6, "2M")])
def test_numbers_of_a_scale_are_short(number, text):
    assert labels.short_number(int(number)) == text


@pytest.mark.parametrize(
    ("event", "notes"),
    [
        ({"kind": "undelivered", "channel": "sms", "provider": "twilio", "reason_code": "30003"},
         ["The phone was switched off or had no signal"]),
        ({"kind": "bounce", "channel": "email", "enhanced_status": "5.2.2", "bounce_class": "soft",
          "late": True}, ["Their mailbox is full", "after it was accepted at first"]),
        ({"kind": "rejected", "channel": "sms"}, []),
        ({"kind": "open", "channel": "email", "machine": True, "user_agent": "a bot"},
         ["by a machine, not a person"]),
        ({"kind": "click", "channel": "email", "url": "https://x.example"}, ["https://x.example"]),
    ],
)  # fmt: skip
def test_a_step_of_a_message_is_noted_in_plain_words(event, notes):
    assert [value for _, value in labels.event_notes(event)] == notes
