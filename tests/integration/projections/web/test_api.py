"""The answers of the API over the real engine: pages, points in time, exports, counts."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pyarrow.parquet as pq
import pytest

from projections.clickhouse.sql import stream
from projections.queries import totals
from projections.queries.listing import Filter, Listing
from projections.queries.search import search_page, search_sql
from projections.status import fold_message, read_row
from projections.tables import KEY, log_of
from projections.web.row_models import json_row
from schemas.events import iso_milliseconds
from tests.api import START, api_with_data, complete_events

CHANNELS = ["email", "sms"]


@pytest.fixture(scope="module")
def api(engine):
    return api_with_data(engine.url, "api_answers")


@pytest.fixture
def client(api):
    with api.client("a") as client:
        yield client


def rows_of(api, channel, tenant="a", until=None, clock="occurred"):
    """Return the rows that Python folds from the events up to a time, as the API returns them."""
    log = log_of(channel)
    messages = {}
    for event in api.events:
        in_time = until is None or event[f"{clock}_at"] <= until
        if in_time and event["tenant_id"] == tenant and event["kind"] in log.kinds \
                and event["channel"] == channel:  # fmt: skip
            messages.setdefault(tuple(event[name] for name in KEY), []).append(event)
    return [
        json_row(read_row(log, dict(zip(KEY, key, strict=True)), fold_message(log, events)))
        for key, events in messages.items()
    ]


def ordered(rows, sort="date", order="desc"):
    rows = sorted(rows, key=lambda row: (row["message_id"], row["recipient"]))
    rows.sort(key=lambda row: row["date"], reverse=sort != "date" or order == "desc")
    return rows if sort == "date" else sorted(rows, key=lambda r: r[sort], reverse=order == "desc")


def walk(client, path, **parameters):
    """Return the rows of all pages."""
    rows, cursor = [], None
    while True:
        page_parameters = parameters | ({"cursor": cursor} if cursor else {})
        reply = client.get(f"/api/v1{path}", params=page_parameters)
        assert reply.status_code == 200, reply.text
        page = reply.json()
        assert len(page["rows"]) <= parameters.get("limit", 50)
        rows += page["rows"]
        cursor = page["next"]
        if cursor is None:
            return rows


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("sort", ["date", "recipient", "status"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_walk_by_cursors_has_every_row_once_and_in_order(api, client, channel, sort, order):
    whole = ordered(rows_of(api, channel), sort, order)
    assert len(whole) > 50
    for limit in (7, 1000):
        assert walk(client, f"/logs/{channel}", sort=sort, order=order, limit=limit) == whole


def test_a_walk_goes_on_where_it_was_when_newer_mail_comes_in(api, client):
    before = ordered(rows_of(api, "email"))
    first = client.get("/api/v1/logs/email?limit=20").json()
    new = {**api.events[0], "message_id": "came-in-between", "event_id": "0" * 32,
           "occurred_at": START + timedelta(days=20)}  # fmt: skip
    api.add_events([new])
    assert first["rows"] + walk_on(client, first["next"]) == before
    assert client.get("/api/v1/logs/email?limit=1").json()["rows"][0]["message_id"] \
        == "came-in-between"  # fmt: skip


@pytest.mark.parametrize("sort", ["date", "recipient", "status"])
@pytest.mark.parametrize("search", ["", "a-email"])
def test_a_walk_back_has_the_pages_of_the_walk_in_reverse(client, sort, search):
    pages, path = [], f"/api/v1/logs/email?sort={sort}&limit=20&q={search}"
    cursor = ""
    while cursor is not None:
        pages.append(client.get(f"{path}{cursor}").json())
        cursor = pages[-1]["next"] and f"&cursor={pages[-1]['next']}"
    assert len(pages) > 2
    assert pages[0]["previous"] is None
    page = pages[-1]
    for earlier, later in list(pairwise(pages))[::-1]:
        page = client.get(f"{path}&cursor={page['previous']}").json()
        assert page["rows"] == earlier["rows"]
        onward = client.get(f"{path}&cursor={page['next']}").json()
        assert onward["rows"] == later["rows"]
    assert page["previous"] is None


@pytest.mark.parametrize(
    "question",
    [{}, {"status": ["Bounce", "Sent"]}, {"q": "invoice"}, {"q": "mailbox does not exist"},
     {"recipient": "p3@d0.example"}, {"as_of": "2026-11-01T12:00"}, {"q": "nobody has this"},
     {"filter": ["date>=2026-11-01T12:00", "open_count>=1"]}],
)  # fmt: skip
def test_rows_are_counted_if_that_is_asked_for(client, question):
    rows = walk(client, "/logs/email", **question)
    page = client.get("/api/v1/logs/email", params={"limit": 2, "total": True, **question}).json()
    assert (page["total"], page["total_is_exact"]) == (len(rows), True)
    assert "total" not in client.get("/api/v1/logs/email", params=question).json()


def test_rows_are_counted_up_to_a_bound(api, client, monkeypatch):
    monkeypatch.setattr(totals, "MAX_COUNTED_ROWS", 7)
    for question in ("", "&q=a-email"):
        page = client.get(f"/api/v1/logs/email?limit=2&total=true{question}").json()
        assert (page["total"], page["total_is_exact"]) == (7, False)
    listing = Listing(channel="email", tenant="a")
    too_slow = totals.count_rows(api.connect(), api.database, listing, "zz", seconds=1e-6)
    assert too_slow is None


def walk_on(client, cursor):
    rows = []
    while cursor:
        page = client.get(f"/api/v1/logs/email?limit=20&cursor={cursor}").json()
        rows, cursor = rows + page["rows"], page["next"]
    return rows


@pytest.mark.parametrize(
    ("parameters", "keeps"),
    [
        ({"status": "Bounce"}, lambda row: row["status"] == "Bounce"),
        ({"status": ["Bounce", "Open"]}, lambda row: row["status"] in {"Bounce", "Open"}),
        ({"status": ["Click", "Sent"], "record_id": "3", "sort": "date"},
         lambda row: row["status"] in {"Click", "Sent"} and row["record_id"] == "3"),
        ({"filter": ["status!=Bounce", "subject~INVOICE"]},
         lambda row: row["status"] != "Bounce" and "Invoice" in row["subject"]),
        ({"record_type": "family", "record_id": "3"},
         lambda row: (row["record_type"], row["record_id"]) == ("family", "3")),
        ({"recipient": "P3@D0.Example "}, lambda row: row["recipient"] == "p3@d0.example"),
        ({"filter": ["open_count>=1", "smtp_code!=550"]},
         lambda row: row["open_count"] >= 1 and row["smtp_code"] != 550),
        ({"filter": ["date>=2026-11-01T12:00", "date<2026-11-01T13:30"]},
         lambda row: "2026-11-01T12:00" <= row["date"] < "2026-11-01T13:30"),
        ({"filter": ["tags=ü", "conflict=false"]},
         lambda row: "ü" in row["tags"] and not row["conflict"]),
        ({"q": "inVOICE"}, lambda row: "Invoice" in row["subject"]),
        ({"q": "עברית", "status": "Sent"},
         lambda row: "עברית" in row["subject"] and row["status"] == "Sent"),
        ({"q": "mailbox does not exist"},
         lambda row: "mailbox does not exist" in row["status_reason"]),
        ({"q": "a-email-4"}, lambda row: "a-email-4" in row["message_id"]),
        ({"q": "@D2."}, lambda row: "@d2." in row["recipient"]),
        ({"q": "nobody has this"}, lambda _row: False),
        ({"q": "bounced"}, lambda row: row["status"] == "Bounce"),
        ({"q": "family november"},
         lambda row: row["record_type"] == "family" and "November" in row["subject"]),
        ({"q": '"for November"'}, lambda row: "for November" in row["subject"]),
        ({"q": '"November for"'}, lambda _row: False),
        ({"q": "click p3@d0"},
         lambda row: row["status"] == "Click" and row["recipient"] == "p3@d0.example"),
        ({"q": "1 Nov 2026"}, lambda row: row["date"].startswith("2026-11-01")),
        ({"filter": "date=11/1/2026"}, lambda row: row["date"].startswith("2026-11-01")),
        ({"filter": ["date>=2026-11-01", "date<=2026-11-01"], "status": "Open"},
         lambda row: row["status"] == "Open" and row["date"].startswith("2026-11-01")),
        ({"filter": "date>2026-11-01"}, lambda row: row["date"] >= "2026-11-02"),
    ],
)  # fmt: skip
def test_filters_and_the_search_keep_what_they_say(api, client, parameters, keeps):
    expected = [row for row in ordered(rows_of(api, "email")) if keeps(row)]
    assert expected or "q" in parameters
    assert walk(client, "/logs/email", limit=9, **parameters) == expected


@pytest.mark.parametrize(
    ("parameters", "parameter", "words"),
    [
        ({"status": "Bounced"}, "status", "Bounce, Click, Open, Delivery"),
        ({"status": ["Bounce", "Rejected"]}, "status", "'Rejected'"),  # of the other log
        ({"filter": "status=bounce"}, "filter", "Bounce, Click, Open, Delivery"),
        ({"record_id": ["1", "2"]}, "record_id", "takes one value"),
        ({"q": ["a", "a"]}, "q", "takes one value"),
        ({"limit": ["1", "50"]}, "limit", "takes one value"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_name(client, parameters, parameter, words):
    reply = client.get("/api/v1/logs/email", params=parameters)
    assert reply.status_code == 422
    [error] = reply.json()["errors"]
    assert error["parameter"] == parameter
    assert words in error["detail"]


def test_the_statuses_are_named_in_the_document(client):
    document = client.get("/api/v1/openapi.json").json()
    parameters = document["paths"]["/api/v1/logs/{channel}"]["get"]["parameters"]
    [status] = [each for each in parameters if each["name"] == "status"]
    assert {"Bounce", "Undelivered"} <= set(status["schema"]["items"]["enum"])


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("clock", ["occurred", "recorded"])
@pytest.mark.parametrize("minutes", [0, 100, 333, 2500])
def test_the_log_as_it_was_is_the_fold_of_the_facts_up_to_then(
    api, client, channel, clock, minutes
):
    at = START + timedelta(minutes=minutes)
    expected = ordered(rows_of(api, channel, until=at, clock=clock))
    rows = walk(client, f"/logs/{channel}", as_of=at.isoformat(), clock=clock, limit=17)
    assert rows == expected
    in_another_zone = (at + timedelta(hours=3)).replace(tzinfo=None).isoformat() + "+03:00"
    assert walk(client, f"/logs/{channel}", as_of=in_another_zone, clock=clock) == expected


def exported(client, channel, form, **parameters):
    reply = client.get(f"/api/v1/logs/{channel}/export", params={"format": form, **parameters})
    assert reply.status_code == 200, reply.text
    assert "-log-" in reply.headers["content-disposition"]
    return reply.content


QUESTIONS = [
    {}, {"sort": "recipient", "order": "desc"}, {"status": "Sent", "q": "in"},
    {"as_of": "2026-11-01T12:00"}, {"as_of": "2026-11-01T12:00", "q": "a-"},
    {"filter": "subject~nothing has this"},
]  # fmt: skip


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("question", QUESTIONS)
def test_an_export_has_the_rows_of_the_listing(client, channel, question):
    if channel == "sms" and "filter" in question:
        question = {"filter": "text~nothing has this"}
    rows = walk(client, f"/logs/{channel}", **question)
    assert bool(rows) == ("filter" not in question)

    documents = exported(client, channel, "ndjson", **question).decode().splitlines()
    assert [json.loads(line) for line in documents] == rows

    parquet = pq.read_table(io.BytesIO(exported(client, channel, "parquet", **question)))
    assert [json_row(row) for row in parquet.to_pylist()] == rows

    text = exported(client, channel, "csv", **question).decode()
    read_back = list(csv.DictReader(io.StringIO(text, newline="")))
    names = list(log_of(channel).columns)
    assert text.splitlines()[0] == ",".join(f'"{name}"' for name in names)
    assert len(read_back) == len(rows)
    for line, row in zip(read_back, rows, strict=True):
        for name in ("message_id", "recipient", "date", "status"):
            assert line[name] == row[name]
        assert line["sent_at"] == (row["sent_at"] or "")


def test_a_spreadsheet_finds_no_formula_in_a_csv_and_all_texts_are_there(api, client):
    for channel, text in (("email", "subject"), ("sms", "text")):
        read_back = csv.DictReader(io.StringIO(exported(client, channel, "csv").decode(),
                                               newline=""))  # fmt: skip
        texts = Counter()
        for line in read_back:
            cells = [cell for name, cell in line.items() if name != "recipient"]
            assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r\n") and cell]
            assert channel == "email" or line["recipient"].startswith("+4477")
            texts[line[text].removeprefix("'")] += 1
        assert texts == Counter(row[text] for row in rows_of(api, channel))


@pytest.mark.parametrize("channel", CHANNELS)
def test_everything_sent_to_an_address_is_one_timeline(api, client, channel):
    rows = ordered(rows_of(api, channel))
    [(address, count)] = Counter(row["recipient"] for row in rows).most_common(1)
    expected = [{"channel": channel, **row} for row in rows if row["recipient"] == address]
    assert count > 2
    assert walk(client, f"/recipients/{address}", limit=2) == expected
    assert walk(client, f"/recipients/{address.upper()}") == expected


def test_an_address_that_both_logs_know_is_walked_in_order_of_time(api):
    events = [
        {**api.events[0], "tenant_id": "both-ways", "channel": channel, "kind": "sent",
         "recipient": "4477", "message_id": f"m{number}", "event_id": f"{number:032}",
         "occurred_at": START + timedelta(minutes=number // 2)}
        for number, channel in enumerate(["email", "sms"] * 9)
    ]  # fmt: skip
    api.add_events(events)
    api.add_key("both ways", ["both-ways"])
    with api.client("both ways") as client:
        whole = walk(client, "/recipients/4477")
        assert len(whole) == 18
        assert [row["date"] for row in whole] == sorted((r["date"] for r in whole), reverse=True)
        assert walk(client, "/recipients/4477", limit=4) == whole


def test_a_message_is_explained_with_the_facts_that_lost(api, client):
    row = next(row for row in rows_of(api, "email") if row["status"] == "Bounce")
    key = {"message_id": row["message_id"], "recipient": row["recipient"].upper()}
    explanation = client.get("/api/v1/messages/email", params=key).json()
    assert explanation["row"] == row
    assert (explanation["status"], explanation["status_reason"]) == (
        row["status"],
        row["status_reason"],
    )
    events = [event for event in api.events if event["message_id"] == row["message_id"]]
    assert [fact["event_id"] for fact in explanation["facts"]] == [
        event["event_id"] for event in sorted(events, key=lambda event: event["occurred_at"])
    ]
    assert [fact["kind"] for fact in explanation["facts"] if fact["role"] == "decides"]
    assert all(fact["alone"] != "Bounce" for fact in explanation["facts"] if fact["role"] == "lost")


def test_a_fact_that_alone_would_give_another_status_has_lost(api, client):
    start, key = START + timedelta(days=400), {"message_id": "lost", "recipient": "lost@x.example"}
    api.add_events(complete_events(
        [{"channel": "email", "kind": kind, "occurred_at": start + timedelta(minutes=minute),
          "recorded_at": start, **key, **more}
         for minute, (kind, more) in enumerate([
            ("sent", {}), ("click", {}), ("bounce", {"bounce_class": "hard"}), ("note", {}),
         ])], "a",
    ))  # fmt: skip
    explanation = client.get("/api/v1/messages/email", params=key).json()
    assert explanation["status"] == "Bounce"
    assert [(fact["kind"], fact["role"], fact["alone"]) for fact in explanation["facts"]] == [
        ("sent", "", "Sent"), ("click", "lost", "Click"), ("bounce", "decides", "Bounce"),
        ("note", "", ""),
    ]  # fmt: skip


def test_a_failure_is_explained_in_plain_words_with_advice(api, client):
    start = START + timedelta(days=420)
    messages = [
        ("twilio-1", "+447700900777", "sms", "undelivered",
         {"provider": "twilio", "reason_code": "30006"}),
        ("plain-1", "gone@x.example", "email", "bounce",
         {"bounce_class": "hard", "smtp_code": 550, "enhanced_status": "5.1.1"}),
        ("plain-2", "here@x.example", "email", "delivery", {}),
    ]  # fmt: skip
    api.add_events(complete_events(
        [{"channel": channel, "kind": kind, "message_id": message_id, "recipient": recipient,
          "occurred_at": start, "recorded_at": start, **more}
         for message_id, recipient, channel, kind, more in messages], "a",
    ))  # fmt: skip
    answers = [
        client.get(
            f"/api/v1/messages/{channel}",
            params={"message_id": message_id, "recipient": recipient},
        ).json()
        for message_id, recipient, channel, _, _ in messages
    ]
    assert [(answer["cause"] or {}).get("name") for answer in answers] == [
        "landline", "mailbox_unknown", None,
    ]  # fmt: skip
    assert answers[0]["cause"]["words"].startswith("This number cannot get text messages")
    assert answers[0]["advice"] == "Ask them for a mobile number."
    assert answers[0]["status_reason"].endswith(": 30006")  # the code is kept
    assert "spam folder" in answers[2]["advice"]


def test_a_message_that_is_not_there_is_not_found(client):
    key = {"message_id": "a-email-1", "recipient": "nobody@example.com"}
    reply = client.get("/api/v1/messages/email", params=key)
    assert (reply.status_code, reply.json()["title"]) == (404, "Not Found")


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("by", ["day", "provider", "domain"])
def test_counts_are_those_of_the_rows(api, client, channel, by):
    since, until = START + timedelta(hours=1), START + timedelta(hours=4)
    group = {
        "day": lambda row: row["date"][:10],
        "provider": lambda row: row["provider"],
        "domain": lambda row: row["recipient"].partition("@")[2],
    }[by]
    rows = [
        r
        for r in rows_of(api, channel)
        if iso_milliseconds(since) <= r["date"] < iso_milliseconds(until)
    ]
    reply = client.get(f"/api/v1/statistics/{channel}", params={
        "by": by, "since": since.isoformat(), "until": until.isoformat(),
    }).json()  # fmt: skip
    counted = {(c["group"], c["status"]): c["messages"] for c in reply["counts"]}
    assert counted == Counter((group(row), row["status"]) for row in rows)
    timed = [
        row for row in rows
        if row["sent_at"] and row["delivered_at"] and not row["delivered_inferred"]
        and row["delivered_at"] >= row["sent_at"]
    ]  # fmt: skip
    assert reply["time_to_delivery"]["messages"] == len(timed) > 0
    assert reply["time_to_delivery"]["median_seconds"] > 0


def test_days_without_messages_have_no_time_to_delivery(client):
    period = {"since": "2020-01-01", "until": "2020-01-02"}
    reply = client.get("/api/v1/statistics/email", params=period).json()
    assert reply["counts"] == []
    assert reply["time_to_delivery"] == {
        "messages": 0, "median_seconds": None, "p95_seconds": None,
    }  # fmt: skip


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_is_sent_and_silent_is_stuck(api, client, channel):
    expected = [row for row in ordered(rows_of(api, channel)) if row["status"] == "Sent"]
    assert walk(client, f"/statistics/{channel}/stuck", hours=24, limit=4) == expected
    assert walk(client, f"/statistics/{channel}/stuck", hours=24 * 365) == []


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("text", [
    "invoice", "ÜNÏCODE", "a-", "0090000", "550 5.1.1", "opened it", "nobody", "x1",
    "5.1.1 mailbox", ": ", "zz", "sent invoice", "family x1", '"opened it"', "+44 7700 900",
])  # fmt: skip
def test_whatever_way_it_is_looked_for_a_text_is_found_where_it_is(api, channel, text):
    database = api.app.state.app_state.database
    filters = (Filter("record_type", "=", "family"),) if len(text) % 2 else ()
    listing = Listing(channel=channel, tenant="a", sort="status", filters=filters, limit=6)
    with database.client() as client:
        whole = list(stream(client, *search_sql(listing, text, database.name)))
        for scan_limit in (0, 9):
            assert search_page(client, database.name, listing, text, scan_limit=scan_limit) == whole


def test_a_message_of_many_facts_is_explained_page_by_page(api, client):
    api.add_events(complete_events([
        {
            "channel": "email", "kind": "open" if number else "sent", "message_id": "many",
            "recipient": "many@example.com", "occurred_at": START + timedelta(seconds=number),
            "recorded_at": START, "url": f"https://example.com/{number}",
        }
        for number in range(2_500)
    ], "a"))  # fmt: skip
    message = {"message_id": "many", "recipient": "many@example.com"}
    page = client.get("/api/v1/messages/email", params=message).json()
    assert (page["status"], page["row"]["open_count"]) == ("Open", 2_499)
    facts, cursor = page["facts"], page["next"]
    assert len(facts) == 500
    while cursor:
        page = client.get(
            "/api/v1/messages/email", params={**message, "limit": 1000, "cursor": cursor}
        ).json()
        facts, cursor = facts + page["facts"], page["next"]
    assert [fact["url"] for fact in facts] == [
        f"https://example.com/{number}" for number in range(2_500)
    ]
    wrong = {"message_id": "other", "recipient": "many@example.com", "cursor": page["next"] or "x"}
    assert client.get("/api/v1/messages/email", params=wrong).status_code == 422
