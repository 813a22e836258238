"""Frames: a token shows one record, and by no request anything of another; resets by a person."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import cycle, islice, product
from urllib.parse import parse_qs, urlsplit

import pytest

from projections.queries import api_keys
from projections.web.pages import embed
from tests.api import SECRET, START, complete_events, empty_api
from tests.embedding import token_for
from tests.integration.projections.web.test_api_access import HOSTILE
from tests.system import wait_for

#: Both families have messages to it.
SHARED = "both@example.com"
RECORD = "/embed/records/family/F-1"
HOST = "https://app.example.com"


def message(record_id, number, recipient, body, **fields):
    channel = "email" if "@" in recipient else "sms"
    at = START + timedelta(hours=number)
    return [
        {"channel": channel, "kind": kind, "message_id": f"{record_id}-{number}",
         "recipient": recipient, "occurred_at": at, "recorded_at": at, "record_type": "family",
         "record_id": record_id, "subject" if channel == "email" else "text": body,
         "provider": "ses", **fields}
        for kind in ("sent", "delivery")
    ]  # fmt: skip


@pytest.fixture(scope="module")
def api(engine):
    api = empty_api(engine.url, "embed", outcome_seconds=0, embed_secret=b"e" * 32)
    claimed = {"provider_message_id": "p-1"}  # by messages of two records
    for tenant in ("a", "b"):
        events = message("F-1", 0, "ann@example.com", "Invoice for Ann", **claimed)
        events += message("F-1", 1, SHARED, "Invoice for both")
        events += message("F-1", 2, "+12025550105", "Class is cancelled")
        events += message("F-2", 3, SHARED, SECRET, **claimed)
        events += message("F-2", 4, f"{SECRET}@example.com", SECRET)
        events += message("F-2", 5, "+12025550106", SECRET, record_name=SECRET)
        staff = message("F-1", 6, f"staff-{SECRET}@example.com", SECRET)
        events += [each | {"record_type": "staff"} for each in staff]
        if tenant == "b":
            events = [each | {"message_id": f"b-{each['message_id']}", "subject": SECRET}
                      for each in events if each["channel"] == "email"]  # fmt: skip
        api.add_events(complete_events(events, tenant))
        api.add_history_row(tenant, SHARED, "added", message_id="F-2-3", reason="550 5.1.1")
    api.add_history_row("a", f"{SECRET}@example.com", "added", reason=SECRET, message_id="F-2-4")
    api.made = {}
    for name, tenants, scopes in (
        ("gym app", ["a"], ["read", "reset"]), ("reader", ["a"], ["read"]),
        ("of b", ["b"], ["read", "reset"]), ("both", ["a", "b"], ["read"]),
        ("letters", ["a"], ["admin"]),
    ):  # fmt: skip
        api.made[name] = api.add_key(name, tenants, scopes)
    return api


@pytest.fixture
def client(api):
    api.commands.clear()
    with api.client(None, follow_redirects=False) as client:
        yield client


def token(api, key="gym app", **options):
    return token_for(api, api.made[key], **options)


def test_a_frame_is_the_record_s_page_without_the_rest_and_for_the_token_s_pages_only(api, client):
    client.cookies["sendlog_session"] = "x"
    reply = client.get(RECORD, params={"token": token(api)})
    assert reply.status_code == 200
    assert "<strong>1 of 3 addresses</strong> is blacklisted" in reply.text
    assert "<header" not in reply.text
    assert "Sign out" not in reply.text
    assert f"frame-ancestors {HOST}" in reply.headers["content-security-policy"].split("; ")[-1]
    assert "x-frame-options" not in reply.headers
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"] == "no-store"
    assert "set-cookie" not in reply.headers
    for url in re.findall(r'(?:href|action|src|data-newer|data-fill)="([^"]+)"', reply.text):
        assert url.startswith(("/embed/", "/static/", "#")), url


def places():
    """Return the paths of all embed endpoints about data, by method."""
    routes = [(method, route.path) for route in embed.router.routes
              for method in route.methods if "accent" not in route.path]  # fmt: skip
    assert len(routes) == 11
    return routes


def at(path, channel="email"):
    """Return the path of a page of family F-1."""
    path = path.replace("{record_type}/{record_id:path}", "family/F-1")
    return path.replace("{channel}", channel)


#: What there is to ask for: the record's own, another's, of another tenant, and nothing.
NAMED = [
    {"message_id": "F-1-0", "recipient": "ann@example.com", "address": SHARED, "command": "x"},
    {"message_id": "F-2-3", "recipient": SHARED, "address": f"{SECRET}@example.com"},
    {"message_id": "F-2-4", "recipient": f"{SECRET}@example.com", "address": "+12025550106"},
    {"message_id": "F-1-6", "recipient": f"staff-{SECRET}@example.com", "address": SHARED},
    {"message_id": "b-F-1-0", "recipient": "ann@example.com", "address": "ann@example.com"},
]
WIDER = [
    {}, {"tenant": "b"}, {"record_id": "F-2"}, {"record_type": "staff"}, {"q": SECRET},
    {"filter": "record_id=F-2"}, {"filter": "record_id!=F-1"}, {"filter": "tenant_id=b"},
    {"filter": f"recipient~{SECRET[:5]}"}, {"q": "F-2", "sort": "recipient"},
    {"as_of": "2026-11-20T10:00", "q": SECRET}, {"than": "2026-01-01"},
    {"format": "ndjson", "filter": "record_type=staff"}, {"recipient": SHARED},
]  # fmt: skip


def test_by_no_request_does_a_token_show_anything_of_another_record(api, client):
    mine = {"token": token(api, scopes=["read", "reset"])}
    for method, path in places():
        tries = (
            WIDER if path.endswith("logs/{channel}") else WIDER[::3] if "logs" in path else NAMED
        )
        for channel, named in [*product(["email"], tries), *product(["sms"], tries[:3])]:
            url = at(path, channel)
            parameters = named | (mine if method == "GET" else {})
            form = {"data": {**mine, "reason": "r"}} if method == "POST" else {}
            reply = client.request(method, url, params=parameters, **form)
            assert reply.status_code in {200, 303, 404}, (url, parameters, reply.text)
            text = reply.text
            for name in named.values():  # what the caller named
                text = text.replace(name, "").replace(name.replace("@", "%40"), "")
            text = text.replace(f"contains {SECRET}", "")
            for theirs in (SECRET, "F-2-", "b-F-1", "F-1-6"):
                assert theirs not in text, (theirs, url, parameters)
    own = {"ann@example.com", SHARED, "+12025550105"}
    assert {command.address for command in api.commands} <= own
    assert {command.tenant_id for command in api.commands} <= {"a"}


def test_the_data_of_others_that_is_tried_is_there_for_its_own_token(api, client):
    other = {"token": token(api, record_id="F-2")}
    assert SECRET in client.get("/embed/records/family/F-2", params=other).text
    for named in NAMED[1:3]:
        assert SECRET in client.get("/embed/messages/email", params=named | other).text
    address = {"address": f"{SECRET}@example.com"}
    assert SECRET in client.get("/embed/blacklist/email", params=address | other).text
    staff = {"token": token(api, record_type="staff")}
    assert SECRET in client.get("/embed/messages/email", params=NAMED[3] | staff).text
    theirs = {"token": token(api, "of b", tenant="b")}
    assert SECRET in client.get(RECORD, params=theirs).text


def test_a_token_is_for_its_record_s_path_only(api, client):
    for path in ("/embed/records/family/F-2", "/embed/records/staff/F-1", f"{RECORD}/x"):
        reply = client.get(path, params={"token": token(api)})
        assert reply.status_code == 403
        assert SECRET not in reply.text
        # The host sees why, in its frame.
        assert HOST in reply.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("key", "claims", "status"),
    [
        ("gym app", {"tenant": "b"}, 403), ("gym app", {"tenant": "*"}, 403),
        ("gym app", {"tenant": "nobody"}, 403), ("of b", {}, 403),
        ("reader", {"scopes": ["read", "reset"]}, 403), ("gym app", {"scopes": ["reset"]}, 403),
        ("letters", {}, 403), ("gym app", {"scopes": ["admin"]}, 401),
        ("gym app", {"seconds": 0}, 401), ("gym app", {"seconds": 9}, 401),
        ("gym app", {"seconds": 601}, 401), ("gym app", {"secret": "x" * 43}, 401),
        ("gym app", {"origins": ["https://x.example; script-src *"]}, 401),
    ],
)  # fmt: skip
def test_what_a_token_may_not_say_is_refused_by_every_page(api, client, key, claims, status):
    wrong = token(api, key, **claims)
    for method, path in places():
        url = at(path)
        parameters = NAMED[0] | ({"token": wrong} if method == "GET" else {})
        form = {"data": {"token": wrong, "reason": "r"}} if method == "POST" else {}
        reply = client.request(method, url, params=parameters, **form)
        assert reply.status_code == status, (url, reply.text)
        assert "Invoice" not in reply.text
        if status == 401 and claims.get("seconds") != 9:
            assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
            assert reply.headers["x-frame-options"] == "DENY"
    assert api.commands == []


def test_without_a_token_there_is_no_frame_and_a_key_or_a_session_is_none(api, client):
    api.sign_in(client, "gym app")
    for method, path in places():
        url = at(path)
        for value in ({}, {"token": ""}, {"token": api.keys["gym app"]}, {"token": "x" * 5000}):
            reply = client.request(method, url, params=NAMED[0] | value, data=None)
            assert reply.status_code in {401, 422}, url
            assert "Invoice" not in reply.text


def test_hostile_values_do_not_break_a_frame(api, client):
    good = {"token": token(api)}
    places = cycle([
        ("/embed/logs/email", "q"), ("/embed/logs/sms", "filter"), (RECORD, "address"),
        (RECORD, "theme"), (RECORD, "accent"), (RECORD, "token"),
        ("/embed/logs/email", "cursor"), ("/embed/messages/email", "recipient"),
    ])  # fmt: skip
    for value in HOSTILE:
        for path, name in islice(places, 3):
            parameters = {**good, "message_id": "x", "recipient": "x", "command": "x", name: value}
            reply = client.get(path, params=parameters)
            assert reply.status_code < 500, (path, name, value)
            assert "<script>a(1)" not in reply.text
            policy = reply.headers["content-security-policy"]
            assert reply.status_code == 303 or "script-src 'self';" in policy
        assert client.get(f"/embed/accent/{value[:50]!r}.css").status_code in {404, 422}


def test_a_revoked_key_ends_its_tokens(api, client):
    key = api.add_key("leaving", ["a"])
    good = {"token": token_for(api, key)}
    assert client.get(RECORD, params=good).status_code == 200
    api_keys.store_revocation(api.connect(), api.database, key)
    wait_for(lambda: client.get(RECORD, params=good).status_code == 403, "the frame to end", 10)


def test_a_reset_in_a_frame_is_done_in_the_person_s_name(api, client):
    api.on_command = lambda command: api.add_history_row(
        "a", command.address, "reset", actor=command.actor, reason=command.reason,
        cause_event_id=command.id,
    )  # fmt: skip
    page = client.get(RECORD, params={"token": token(api, scopes=["read", "reset"])}).text
    action = re.search(r'<form class="stack" method="post" action="([^"]+)"', page)[1]
    assert "token" not in action
    carried = re.search(r'name="token" value="([^"]+)"', page)[1]
    form = {"token": carried, "do": "add", "back": "https://evil.example", "reason": "she called"}
    reply = client.post(action.replace("&amp;", "&"), data=form)
    api.on_command = None
    [command] = api.commands
    assert (command.command, command.address, command.actor, command.reason) == (
        "reset", SHARED, "Ann Clark (gym app)", "she called",
    )  # fmt: skip
    assert urlsplit(reply.headers["location"]).path == RECORD
    assert "was reset." in client.get(reply.headers["location"]).text
    shared = {"address": SHARED, "token": token(api)}
    history = client.get("/embed/blacklist/email", params=shared).text
    assert "Ann Clark (gym app)" in history
    api.add_history_row("a", SHARED, "added", message_id="F-2-3")


def test_who_may_only_read_is_offered_no_reset_and_makes_none(api, client):
    page = client.get(RECORD, params={"token": token(api)}).text
    assert "<summary>Reset" not in page
    form = {"token": token(api), "reason": "r"}
    reply = client.post(f"/embed/blacklist/email?address={SHARED}", data=form)
    assert reply.status_code == 403
    assert api.commands == []


def test_when_a_token_has_expired_the_host_is_asked_for_another_and_what_was_typed_is_kept(
    api, client
):
    old = token(api, scopes=["read", "reset"], seconds=9)
    reply = client.get(RECORD, params={"token": old})
    assert reply.status_code == 401
    assert "data-expired" in reply.text
    assert "<form" not in reply.text
    assert f"frame-ancestors {HOST}" in reply.headers["content-security-policy"]
    form = {"token": old, "reason": 'said "yes"', "confirmed": "yes"}
    reply = client.post(f"/embed/blacklist/email?address={SHARED}", data=form)
    assert reply.status_code == 401
    assert old not in reply.text
    assert 'value="said &#34;yes&#34;"' in reply.text
    assert 'name="confirmed" value="yes"' in reply.text
    assert f'action="/embed/blacklist/email?address={SHARED}"' in reply.text
    assert api.commands == []


def test_a_host_may_ask_for_a_token_rather_than_sign_one(api, client):
    body = {"record_type": "family", "record_id": "F-1", "actor": "Ann Clark", "seconds": 60,
            "origins": [HOST], "time_zone": "America/New_York"}  # fmt: skip
    with api.client("reader") as host:
        reply = host.post("/api/v1/embed-tokens", json=body)
        assert reply.status_code == 200
        answer = reply.json()
        assert answer["url"].startswith(f"http://testserver{RECORD}?token=")
        assert parse_qs(urlsplit(answer["url"]).query)["token"] == [answer["token"]]
        assert client.get(answer["url"]).status_code == 200
        for wrong in ({"seconds": 601}, {"origins": []}, {"tenant": "a"}, {"actor": ""}):
            assert host.post("/api/v1/embed-tokens", json=body | wrong).status_code == 422
        odd = host.post("/api/v1/embed-tokens", json=body | {"record_id": "F 2/b?#%"}).json()["url"]
        assert "F 2/b?#%" in client.get(odd).text
        more = body | {"scopes": ["read", "reset"]}
        assert host.post("/api/v1/embed-tokens", json=more).status_code == 403
        assert host.post("/api/v1/embed-tokens?tenant=b", json=body).status_code == 403
    with api.client("both") as host:
        reply = host.post("/api/v1/embed-tokens?tenant=b", json=body)
        assert SECRET in client.get(reply.json()["url"]).text


def test_the_accent_of_a_frame_can_be_read_on_its_paper(client):
    css = client.get("/embed/accent/ffee00.css")
    assert css.headers["content-type"].startswith("text/css")
    assert "ffee00" in css.text  # on dark paper as it is
    [light] = re.findall(r"light-dark\(#(\w+)", css.text)[:1]
    assert light < "888888"  # on white far darker
    assert client.get("/embed/accent/red.css").status_code == 422
