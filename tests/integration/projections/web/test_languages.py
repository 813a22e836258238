"""Pages in the language of whoever looks at them, and their days and times with them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from projections.web import catalogue
from projections.web.pages.times import zone_names
from projections.web.translation import languages, message_in
from tests.api import SUBJECTS, api_with_data, complete_events, token_of
from tests.browser.test_pages import PAGES
from tests.embedding import token_for
from tests.page_texts import texts_of

P1, P2, NUMBER = "p1@d1.example", "p2@d2.example", "+447700900001"
MORE_PAGES = [
    "/sign-in", "/sign-in?why=revoked", "/logs/email?tenant=a&q=rebotado",
    "/logs/email?tenant=a&filter=date%3E%3D2026-11-01&filter=subject~inv&status=Bounce&status=Open",
    "/logs/sms?tenant=a&sort=recipient&order=asc&total=true", "/logs/email?tenant=a&filter=nothing",
    "/logs/email?tenant=a&filter=conflict%3Dmaybe", "/logs/email?tenant=a&limit=0&q=5.1.1",
    "/logs/email/count?tenant=a", "/overview/email?tenant=a&days=1", "/overview/email?tenant=b",
    f"/addresses?address={P1}&tenant=a", "/addresses?address=none%40x.example&tenant=a",
    "/records/family/1?tenant=a", "/records/staff/2?tenant=a", "/records/family/none?tenant=a",
    f"/blacklist/email?address={P1}&tenant=a", "/blacklist/sms?address=%2B447700900001&tenant=a",
    "/blacklist?tenant=a&address=none", "/blacklist/resets?tenant=a", "/dead-letters?reason=none",
    "/blacklist/sms?address=12&add=true&tenant=a", "/tenants?next=/logs/sms",
    "/audit?tenant=a", "/audit?tenant=a&first=never",
]  # fmt: skip
#: Data with English words in it.
DATA = [
    *filter(None, SUBJECTS), "not text", "no JSON of", "no event", "nobody here", "a's own",
    "family", "staff", "operator", "zebra-of-b",
]  # fmt: skip
#: What may stand around a message, or around a value in it.
_ENDS = " .:,;\u2013"
#: The same in both languages, or names of URLs.
SAME = {"no", "SMS", "API", "OpenAPI 3.1", "bytes"}
LATE, EARLY = datetime(2026, 11, 26, 5, 59, tzinfo=UTC), datetime(2026, 11, 26, 6, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def api(engine):
    api = api_with_data(engine.url, "languages", outcome_seconds=0.1, embed_secret=b"e" * 32)
    api.key = api.add_key("frame", ["a"], ["read", "reset"])
    api.add_key("zones", ["zones"], ["read", "reset"])
    api.add_events(complete_events([
        {"channel": "email", "kind": "sent", "message_id": name, "subject": name,
         "recipient": "ann@example.com", "occurred_at": at, "recorded_at": at}
        for name, at in (("late", LATE), ("early", EARLY))
    ], "zones"))  # fmt: skip
    return api


@pytest.fixture
def client(api):
    with api.client(None) as client:
        client.headers["Accept-Language"] = "es-US,es;q=0.9,en;q=0.5"
        api.sign_in(client, "operator")
        yield client


@pytest.fixture
def timed(api):
    with api.client(None) as client:
        api.sign_in(client, "zones")
        client.cookies.set("sendlog_zone", "America|Chicago")
        yield client


@cache
def english_messages(language):
    """Return what of the English messages a language says otherwise, without their values."""
    found = set()
    for message in catalogue.source_catalogue():
        for text in [message.id] if isinstance(message.id, str) else message.id:
            if text and message_in(language, text, message.context or "") != text:
                for part in re.split(r"%\(\w+\)[sr]|<[^>]+>", text):
                    plain = part.strip(_ENDS)
                    if len(plain) > 1 and plain not in SAME:
                        found.add(plain)
    several = [text for text in found if " " in text and len(text) > 7]
    return found, re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, several))})(?!\w)")


def english_left(page, language):
    """Return the texts of a page that are an English message, or have one of several words."""
    messages, pattern = english_messages(language)
    return [
        text for text in texts_of(page)
        if not any(data in text for data in DATA)
        and (text.strip(_ENDS) in messages or pattern.search(text))
    ]  # fmt: skip


def messages_of_every_status(api):
    with api.client("a") as client:
        for channel in ("email", "sms"):
            seen = set()
            for row in client.get(f"/api/v1/logs/{channel}?limit=200").json()["rows"]:
                if row["status"] not in seen:
                    seen.add(row["status"])
                    place = {"message_id": row["message_id"], "recipient": row["recipient"]}
                    yield f"/messages/{channel}?{urlencode({**place, 'tenant': 'a'})}"


@pytest.mark.parametrize("language", [code for code in languages() if code != "en"])
def test_no_english_is_left_on_any_page(api, client, language):
    client.headers["Accept-Language"] = language
    messages = list(messages_of_every_status(api))
    assert len(messages) >= 10
    bounced = messages[0].partition("?")[2].removesuffix("&tenant=a")
    # One shows an English word that was typed.
    pages = [path.format(bounced=bounced) for path in PAGES if "Bounced" not in path]
    faults = {}
    for path in [*pages, *MORE_PAGES, *messages]:
        page = client.get(path).text
        assert f'<html lang="{language}"' in page or not page.lstrip().startswith("<!doctype"), path
        if left := english_left(page, language):
            faults[path] = left
    token = token_of(client.get("/blacklist?tenant=a").text)
    for path, fields in (
        ("/blacklist/resets", {"addresses": f"{P1}\n{P2}\nnone@x.example\n{NUMBER}"}),
        ("/blacklist/resets", {"addresses": ""}),
        (f"/blacklist/email?address={P1}", {"reason": " ", "do": "reset"}),
        ("/blacklist/email?address=hello", {"reason": "x", "do": "add"}),
        (f"/blacklist/email?address={P2}", {"reason": "x", "token": "another"}),
    ):
        url = f"{path}{'&' if '?' in path else '?'}tenant=a"
        if left := english_left(client.post(url, data={"token": token, **fields}).text, language):
            faults[url] = left
    signed = token_for(api, api.key, "3", scopes=["read", "reset"], locale=language)
    for path in ("records/family/3", "logs/email", "logs/sms", "help/statuses", "records/family/9"):
        page = client.get(f"/embed/{path}", params={"token": signed}).text
        if left := english_left(page, language):
            faults[path] = left
    assert faults == {}


def test_english_that_is_left_is_found(client):
    client.headers["Accept-Language"] = "en"
    page = client.get("/logs/email?tenant=a").text
    assert {"Search all fields", "On its way", "Status"} <= set(english_left(page, "es"))


def test_the_choice_is_kept_and_counts_more_than_the_browser_s_languages(client):
    page = client.get("/time-zone?next=/blacklist?tenant=a").text
    assert "Mostrar las páginas en" in page
    fields = {"token": token_of(page), "language": "en", "next": "/blacklist?tenant=a"}
    english = client.post("/time-zone", data=fields)
    assert english.history[0].headers["set-cookie"].startswith("sendlog_language=en;")
    assert '<html lang="en">' in english.text
    assert "<h1>Blacklist</h1>" in english.text
    assert client.post("/time-zone", data=fields | {"language": "fr"}).status_code == 422


def test_a_page_says_what_its_language_depends_on_and_the_api_s_depends_on_nothing(api, client):
    vary = client.get("/blacklist?tenant=a").headers["vary"]
    assert {"Accept-Language", "Cookie"} <= set(vary.split(", "))
    assert client.get("/blacklist?tenant=a").headers["cache-control"] == "no-store"
    with api.client("a", follow_redirects=False) as program:
        tags = set()
        for language in ("en", "es"):
            program.headers["Accept-Language"] = language
            reply = program.get("/api/v1/logs/email?status=nothing")
            assert reply.json()["detail"].startswith("status: takes one of Bounce, ")
            assert "Accept-Language" not in reply.headers.get("vary", "")
            tags.add(program.get("/api/v1/logs/email?status=Bounce").headers["etag"])
        assert len(tags) == 1


def test_a_frame_is_in_the_language_of_its_token(api, client):
    client.cookies.set("sendlog_language", "en")
    for locale, heading, words in (
        ("es-MX", "es", "Direcciones y números"), ("en-US", "en", "Addresses and numbers"),
        ("fr", "en", "Addresses and numbers"),
    ):  # fmt: skip
        signed = token_for(api, api.key, "3", locale=locale)
        page = client.get("/embed/records/family/3", params={"token": signed}).text
        assert f'<html lang="{heading}"' in page
        assert words in page
    late = token_for(api, api.key, "3", locale="es", seconds=-1, iat=1, exp=300)
    page = client.get("/embed/records/family/3", params={"token": late}).text
    assert "Esta página caducó" in page


def test_dates_and_numbers_are_those_of_the_country(timed):
    for language, time in (
        ("es-US", "25 nov 2026, 11:59 p.m."), ("es-ES", "25 nov 2026, 23:59"),
        ("es", "25 nov 2026, 11:59 p.m."), ("en-GB", "25 Nov 2026, 23:59"),
        ("en", "25 Nov 2026, 23:59"), ("en-US", "Nov 25, 2026, 11:59 PM"),
    ):  # fmt: skip
        timed.headers["Accept-Language"] = language
        assert f">{time}</time>" in timed.get("/logs/email").text


def shown(page):
    return {name for name in ("late", "early") if f"<bdi>{name}</bdi></a>" in page}


@pytest.mark.parametrize(
    ("language", "query", "expected"),
    [
        ("es-US", "q=25 de noviembre de 2026", {"late"}), ("es-US", "q=26/11/2026", {"early"}),
        ("en-US", "q=11/26/2026", {"early"}), ("en-GB", "q=26/11/2026", {"early"}),
        ("en-US", "q=26 de noviembre de 2026", {"early"}),
        ("es-US", "filter=date>=26/11/2026", {"early"}), ("es-US", "q=enviado", {"late", "early"}),
        ("es-US", "column=date&is=<=&value=25/11/2026", {"late"}),
    ],
)  # fmt: skip
def test_days_and_statuses_are_understood_as_their_reader_types_them(
    timed, language, query, expected
):
    timed.headers["Accept-Language"] = language
    assert shown(timed.get(f"/logs/email?{query}").text) == expected


def parameters(reply):
    return parse_qs(urlsplit(str(reply.url)).query)


def test_the_url_of_a_day_with_slashes_means_the_same_to_all(timed):
    timed.headers["Accept-Language"] = "es-US"
    assert parameters(timed.get("/logs/email?q=12/11/2026"))["q"] == ["2026-11-12"]
    timed.headers["Accept-Language"] = "en-US"
    assert parameters(timed.get("/logs/email?q=12/11/2026"))["q"] == ["2026-12-11"]
    reply = timed.get("/logs/email?filter=date>=12/11/2026&filter=subject=12/11/2026")
    assert parameters(reply)["filter"] == ["date>=2026-12-11", "subject=12/11/2026"]


def test_a_point_in_time_is_typed_and_shown_in_the_reader_s_zone_and_kept_in_utc(timed):
    reply = timed.get("/logs/email?at=2026-11-25T23:59&clock=occurred")
    assert parameters(reply)["as_of"] == ["2026-11-26T05:59Z"]
    assert shown(reply.text) == {"late"}
    assert "The log as it was on <time" in reply.text
    assert 'name="at" required value="2026-11-25T23:59"' in reply.text
    assert timed.get("/logs/email?at=soon").status_code == 422


def test_a_time_in_a_filter_is_typed_and_shown_in_the_reader_s_zone(timed):
    reply = timed.get("/logs/email?column=date&is=>=&value=2026-11-26T00:00")
    assert parameters(reply)["filter"] == ["date>=2026-11-26T06:00Z"]
    assert shown(reply.text) == {"early"}
    assert "<bdi>date from 26 Nov 2026, 00:00</bdi>" in reply.text
    kept = timed.get("/logs/email?column=subject&is==&value=2026-11-26T00:00")
    assert parameters(kept)["filter"] == ["subject=2026-11-26T00:00"]


def test_the_days_of_the_overview_are_those_of_the_zone_and_lead_to_their_messages(timed):
    page = timed.get("/overview/email?days=90").text
    links = dict(re.findall(r'<a href="(/logs/email\?filter=date%3D[\d-]+)">([^<]+)</a>', page))
    assert links == {
        "/logs/email?filter=date%3D2026-11-26": "26 Nov 2026",
        "/logs/email?filter=date%3D2026-11-25": "25 Nov 2026",
    }
    assert shown(timed.get("/logs/email?filter=date%3D2026-11-25").text) == {"late"}
    timed.cookies.set("sendlog_zone", "UTC")
    assert "filter=date%3D2026-11-25" not in timed.get("/overview/email?days=90").text


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_an_export_is_named_by_the_day_of_the_zone(timed, zone):
    timed.cookies.set("sendlog_zone", zone.replace("/", "|"))
    offset = 14 if zone == "Pacific/Kiritimati" else -11
    today = datetime.now(UTC) + timedelta(hours=offset)
    name = timed.get("/logs/email/export?format=csv").headers["content-disposition"]
    assert f'filename="email-log-{today:%Y%m%d}.csv"' in name


def test_the_engine_knows_every_time_zone_of_the_choice(api):
    rows = api.connect().query("SELECT time_zone FROM system.time_zones").result_rows
    assert zone_names() - {row[0] for row in rows} == set()
