"""A customer record over the API and as a page: its addresses, how they stand, its messages."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from tests.api import START, complete_events, empty_api, token_of

PREVIEW = "https://app.example.com/m/1?a=1&b=2"
PEOPLE = {"ann@example.com": "email", "ben@example.com": "email", "+12025550105": "sms"}


def events(tenant):
    return complete_events([
        {
            "channel": channel, "kind": kind, "message_id": f"{tenant}-{record}-{number}",
            "recipient": address, "occurred_at": START + timedelta(hours=number, minutes=minute),
            "recorded_at": START, "record_type": "family", "record_id": record, "provider": "ses",
        }
        for record in ("F-1", "F 2/b")
        for number, (address, channel) in enumerate(PEOPLE.items())
        for minute, kind in enumerate(["sent", "delivery"])
    ], tenant)  # fmt: skip


@pytest.fixture(scope="module")
def api(engine):
    api = empty_api(engine.url, "records", outcome_seconds=0)
    for tenant in ("a", "b"):
        api.add_key(tenant, [tenant], ["read", "reset"])
    api.add_key("a reader", ["a"])
    api.add_events(events("a"))
    api.add_history_row("a", "ben@example.com", "added")
    api.add_history_row("b", "ann@example.com", "added")
    return api


def test_a_record_has_its_addresses_those_in_trouble_first_and_both_logs(api):
    with api.client("a") as client:
        record = client.get("/api/v1/records/family/F-1").json()
        assert [(each["address"], each["listed"]) for each in record["standings"]] == [
            ("ben@example.com", True), ("+12025550105", False), ("ann@example.com", False),
        ]  # fmt: skip
        assert record["standings"][0]["entry"]["rule"] == "hard_bounce"
        assert [each["deliverability"] for each in record["standings"]] == [
            "blacklisted",
            "fine",
            "fine",
        ]
        assert [(row["message_id"], row["channel"]) for row in record["rows"]] == [
            ("a-F-1-2", "sms"), ("a-F-1-1", "email"), ("a-F-1-0", "email"),
        ]  # fmt: skip
        assert client.get("/api/v1/records/family/F%202%2Fb?limit=1").json()["rows"]
    with api.client("b") as client:
        record = client.get("/api/v1/records/family/F-1").json()
        assert (record["standings"], record["rows"]) == ([], [])


#: What became of messages to an address, one after the other, and how it stands then.
LIVES = {
    "cat@example.com": (["bounce"], "bouncing"),
    "dan@example.com": (["bounce", "delivery"], "fine"),
    "eve@example.com": (["delivery", "bounce"], "bouncing"),
    "+12025550107": (["opt_out", "undelivered"], "opted out"),
    "+12025550108": (["opt_out", "delivery", "queued"], "fine"),
    "+12025550109": (["undelivered", "read"], "fine"),
}


def test_an_address_that_is_not_blacklisted_stands_as_its_last_messages_went(api):
    api.add_events(complete_events([
        {
            "channel": "email" if "@" in address else "sms", "kind": kind, "recipient": address,
            "message_id": f"{address}-{number}", "bounce_class": "hard" if kind == "bounce" else "",
            "occurred_at": START + timedelta(hours=number), "recorded_at": START,
            "record_type": "staff", "record_id": "S-1", "provider": "twilio",
        }
        for address, (kinds, _) in LIVES.items() for number, kind in enumerate(kinds)
    ], "a"))  # fmt: skip
    with api.client("a") as client:
        standings = client.get("/api/v1/records/staff/S-1").json()["standings"]
        assert {each["address"]: each["deliverability"] for each in standings} == {
            address: standing for address, (_, standing) in LIVES.items()
        }
        assert [each["deliverability"] for each in standings] == [
            "opted out", "bouncing", "bouncing", "fine", "fine", "fine",
        ]  # fmt: skip
    with api.client(None) as client:
        api.sign_in(client, "a")
        page = client.get("/records/staff/S-1").text
        assert "but to 3 of 6 none has arrived lately" in page
        assert "Only they can change that." in page


def test_standings_are_told_by_one_call_in_any_writing(api):
    asked = [
        {"channel": "email", "address": " Ben@Example.com"},
        {"channel": "sms", "address": "+1 (202) 555-0105"},
        {"channel": "email", "address": "nobody@example.com"},
    ]
    with api.client("a reader") as client:
        standings = client.post("/api/v1/standings", json={"addresses": asked}).json()["standings"]
        assert [(each["address"], each["listed"]) for each in standings] == [
            ("ben@example.com", True), ("+12025550105", False), ("nobody@example.com", False),
        ]  # fmt: skip
        for wrong in ([], asked * 100, [{"channel": "fax", "address": "x"}]):
            assert client.post("/api/v1/standings", json={"addresses": wrong}).status_code == 422


def test_the_page_says_how_many_are_blacklisted_and_resets_in_place(api):
    with api.client(None) as client:
        api.sign_in(client, "a")
        page = client.get("/records/family/F-1").text
        assert "<strong>1 of 3 addresses</strong> is blacklisted" in page
        form = re.search(r'<form class="stack" method="post" action="([^"]+)"', page)[1]
        back = re.search(r'name="back" value="([^"]+)"', page)[1]
        fields = {"token": token_of(page), "do": "reset", "back": back, "reason": "she called"}
        reply = client.post(form, data=fields, follow_redirects=False)
        assert reply.headers["location"].startswith("/records/family/F-1?")
        [command] = api.commands
        assert (command.reason, command.address) == ("she called", "ben@example.com")
        pending = client.get(reply.headers["location"]).text
        assert "It is not done yet" in pending
        api.add_history_row(
            "a", "ben@example.com", "reset", reason="she called", cause_event_id=command.id
        )
        done = client.get(reply.headers["location"]).text
        assert "was reset." in done
        assert "No address of this record is blacklisted" in done


def test_a_record_has_the_name_and_the_link_that_its_mailer_said_last(api):
    def said(hour, name, url, tenant="a"):
        at = START + timedelta(hours=hour)
        event = {"channel": "email", "kind": "sent", "message_id": f"named-{hour}",
                 "recipient": "ann@example.com", "occurred_at": at, "recorded_at": at,
                 "record_type": "family", "record_id": "F-3", "record_name": name,
                 "record_url": url}  # fmt: skip
        api.add_events(complete_events([event], tenant))

    said(5, "The Clark family", "https://app.example.com/families/3?a=1&b=2")
    said(4, "The Smiths", "https://app.example.com/old")  # comes late
    said(9, "Of b", "https://b.example", tenant="b")
    with api.client("a") as client, api.client(None) as reader:
        api.sign_in(reader, "a")
        record = client.get("/api/v1/records/family/F-3").json()
        assert (record["record_name"], record["record_url"]) == (
            "The Clark family", "https://app.example.com/families/3?a=1&b=2",
        )  # fmt: skip
        page = reader.get("/records/family/F-3").text
        assert "<h1><bdi>The Clark family</bdi> <small><bdi>family F-3</bdi></small></h1>" in page
        assert 'href="https://app.example.com/families/3?a=1&amp;b=2" rel="noopener' in page
        said(6, "", "javascript:alert(1)")
        record = client.get("/api/v1/records/family/F-3").json()
        assert (record["record_name"], record["record_url"]) == ("", "")
        assert "javascript:" not in reader.get("/records/family/F-3").text


def test_a_message_is_linked_to_where_its_mailer_said_last_that_it_can_be_read(api):
    message = {"message_id": "previewed", "recipient": "ann@example.com"}

    def said(hour, url):
        at = START + timedelta(hours=hour)
        event = {"channel": "email", "kind": "sent", "attempt": hour, "occurred_at": at,
                 "recorded_at": at, "preview_url": url, **message}  # fmt: skip
        api.add_events(complete_events([event], "a"))

    with api.client("a") as client, api.client(None) as reader:
        api.sign_in(reader, "a")
        for hour, url in enumerate(["", PREVIEW, "javascript:alert(1)"], 1):
            said(hour, url)
            answer = client.get("/api/v1/messages/email", params=message).json()
            assert answer["preview_url"] == (PREVIEW if hour > 1 else "")
            page = reader.get("/messages/email", params=message).text
            assert ("Read the message</a>" in page) == (hour > 1)
        assert 'href="https://app.example.com/m/1?a=1&amp;b=2" rel="noopener' in page
        assert 'href="javascript:' not in page


@pytest.mark.parametrize("back", ["//evil.example", "/sign-out", "https://evil.example/records/"])
def test_a_reset_leads_back_to_a_record_only(api, back):
    with api.client(None) as client:
        api.sign_in(client, "a")
        page = client.get("/blacklist/email?address=ann@example.com").text
        fields = {"token": token_of(page), "do": "reset", "reason": "x", "back": back}
        reply = client.post(
            "/blacklist/email?address=ann@example.com", data=fields, follow_redirects=False
        )
        assert reply.headers["location"].startswith("/blacklist/email?address=ann%40example.com")


def test_a_record_without_messages_says_so_and_a_reader_has_no_reset(api):
    with api.client(None) as client:
        api.sign_in(client, "a reader")
        assert "Nothing was sent about this record." in client.get("/records/family/none").text
        assert "<summary>Reset" not in client.get("/records/family/F-1").text
        page = client.get("/records/family/F%202%2Fb")
        assert page.status_code == 200
        assert "F 2/b" in page.text
