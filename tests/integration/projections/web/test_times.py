"""Times and days of the pages: in the zone and the form of whoever looks at them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

import pytest

from tests.api import complete_events, empty_api, token_of
from tests.embedding import token_for

#: In Chicago the last minute of the 25th, and the first of the 26th.
LATE, EARLY = datetime(2026, 11, 26, 5, 59, tzinfo=UTC), datetime(2026, 11, 26, 6, 0, tzinfo=UTC)


def event(name, at):
    return {"channel": "email", "kind": "sent", "message_id": name, "subject": name,
            "recipient": "ann@example.com", "occurred_at": at, "recorded_at": at,
            "record_type": "family", "record_id": "F-1"}  # fmt: skip


@pytest.fixture(scope="module")
def api(engine):
    api = empty_api(engine.url, "times", time_zone="Europe/Madrid", embed_secret=b"e" * 32)
    api.key = api.add_key("a", ["a"])
    api.add_events(complete_events([event("late", LATE), event("early", EARLY)], "a"))
    return api


@pytest.fixture
def client(api):
    with api.client(None) as client:
        api.sign_in(client, "a")
        yield client


def choose(client, zone):
    page = client.get("/time-zone?next=/logs/email").text
    fields = {"token": token_of(page), "zone": zone, "next": "/logs/email"}
    return client.post("/time-zone", data=fields)


def shown(page):
    return {name for name in ("late", "early") if f"<bdi>{name}</bdi></a>" in page}


def test_times_are_the_instance_s_until_a_browser_names_a_zone_and_exact_for_programs(client):
    page = client.get("/logs/email").text
    assert "26 Nov 2026, 06:59" in page
    assert "Times are those of Europe/Madrid." in page
    assert (
        '<time datetime="2026-11-26T05:59:00.000Z" title="2026-11-26 05:59:00 UTC">'
        "26 Nov 2026, 06:59</time>"
    ) in page
    assert "25 Nov 2026, 23:59" in choose(client, "America/Chicago").text
    assert "26 Nov 2026, 05:59" in choose(client, "UTC").text
    choose(client, "America/Chicago")
    american = client.get("/logs/email", headers={"Accept-Language": "en-US,en;q=0.9"}).text
    assert "Nov 25, 2026, 11:59 PM" in american


@pytest.mark.parametrize("zone", ["", "Mars/Base", "../etc/passwd", "/etc", "|", "America", "\\"])
def test_what_is_no_zone_is_none(client, zone):
    client.cookies.set("sendlog_zone", f'"{zone}"')
    assert "Times are those of Europe/Madrid." in client.get("/logs/email").text
    assert choose(client, zone).status_code == 422


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=25 Nov 2026", {"late"}), ("q=2026-11-26", {"early"}),
        ("filter=date<=2026-11-25", {"late"}), ("filter=date=2026-11-26", {"early"}),
        ("from=2026-11-25&to=2026-11-26", {"late", "early"}), ("to=2026-11-25", {"late"}),
        ("filter=date>=2026-11-26T06:00", {"early"}),
    ],
)  # fmt: skip
def test_a_day_is_one_of_the_zone_and_a_time_is_utc(client, query, expected):
    client.cookies.set("sendlog_zone", "America|Chicago")
    assert shown(client.get(f"/logs/email?{query}").text) == expected


def test_yesterday_and_the_presets_are_days_of_the_zone(api, client):
    zone = ZoneInfo("Pacific/Kiritimati")  # it is tomorrow there for half of the day
    today = datetime.now(zone).replace(hour=12, minute=0, second=0, microsecond=0)
    api.add_events(complete_events([event("noon", today - timedelta(days=1))], "a"))
    client.cookies.set("sendlog_zone", "Pacific|Kiritimati")
    page = client.get("/logs/email?q=yesterday").text
    assert "<bdi>noon</bdi>" in page
    for preset, has_it in (("today", False), ("6 days ago", True)):
        period = f"filter={quote_plus(f'date>={preset}')}"
        assert period in page
        assert ("<bdi>noon</bdi></a>" in client.get(f"/logs/email?{period}").text) is has_it


def test_the_api_stays_in_utc(api):
    with api.client("a") as client:
        client.cookies.set("sendlog_zone", "America|Chicago")
        reply = client.get("/api/v1/logs/email", params={"q": "2026-11-26"}).json()
        assert [row["message_id"] for row in reply["rows"]] == ["early", "late"]
        assert reply["rows"][1]["date"] == "2026-11-26T05:59:00.000Z"


def test_a_frame_has_the_zone_and_the_form_of_its_token(api):
    signed = token_for(api, api.key, time_zone="America/Chicago", locale="en-US")
    with api.client(None) as client:
        client.cookies.set("sendlog_zone", "Asia|Tokyo")
        page = client.get("/embed/records/family/F-1", params={"token": signed}).text
        assert "Nov 25, 2026, 11:59 PM" in page
        assert "Times are those of America/Chicago." in page
        assert "/time-zone" not in page
        log = client.get("/embed/logs/email", params={"token": signed, "q": "25 Nov 2026"}).text
        assert shown(log) == {"late"}
