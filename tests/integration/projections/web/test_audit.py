"""The audit log: each thing that somebody does is one line, of their tenant, for administrators."""

from __future__ import annotations

import csv
import io
import time
from datetime import UTC, datetime, timedelta

import pytest

from projections.queries.audit import AuditFilter, AuditLine, list_audit_lines
from projections.web.audit_trail import LOOK_SECONDS
from tests.api import SECRET, api_with_data, empty_api, token_of
from tests.embedding import token_for


@pytest.fixture(scope="module")
def api(engine):
    return api_with_data(engine.url, "audited", outcome_seconds=0, embed_secret=b"e" * 32)


@pytest.fixture(autouse=True)
def nothing_yet(api):
    lines(api)
    api.app.state.app_state.audit_trail._recent.clear()
    api.connect().command(f"TRUNCATE TABLE {api.database}.audit")


def lines(api, tenant="a", **asked):
    """Return what is in the audit log of a tenant, the oldest first."""
    api.app.state.app_state.audit_trail.flush()
    rows = list_audit_lines(api.connect(), api.database, tenant, AuditFilter(**asked), limit=1000)
    return list(rows)[::-1]


def brief(rows):
    return [(r["via"], r["action"], r["object_type"], r["object"], r["outcome"]) for r in rows]


def a_message(api):
    event = next(e for e in api.events if e["tenant_id"] == "a" and e["channel"] == "email")
    return {"message_id": event["message_id"], "recipient": event["recipient"]}


LOOKS = {
    "/api/v1/records/family/1": ("record", "family/1"),
    "/api/v1/recipients/p1@d1.example": ("address", "p1@d1.example"),
    "/api/v1/logs/email?recipient=P1@d1.example": ("address", "p1@d1.example"),
    "/api/v1/logs/email?filter=recipient~d1.example": ("address", "d1.example"),
    "/api/v1/logs/sms?record_type=family&record_id=1": ("record", "family/1"),
    "/api/v1/logs/email?message_id=a-email-1": ("message", "a-email-1"),
    "/api/v1/logs/email?q=invoice": ("log", "email"),
    "/api/v1/suppressions/email/p1@d1.example": ("address", "p1@d1.example"),
    "/api/v1/suppressions/email/p1@d1.example/history": ("address", "p1@d1.example"),
}


@pytest.mark.parametrize("url", LOOKS)
def test_a_look_by_the_api_is_one_line_however_often_it_is_repeated(api, url):
    with api.client("a reader") as client:
        for _ in range(3):
            assert client.get(url).status_code == 200
    assert brief(lines(api)) == [("api", "look", *LOOKS[url], "done")]
    [line] = lines(api)
    assert line["actor"] == "a reader"
    assert line["client"] == "testclient"
    assert lines(api, "b") == []


def test_what_names_nobody_is_no_look(api):
    with api.client("a reader") as client:
        for url in ("/api/v1/logs/email", "/api/v1/logs/email?status=Bounce",
                    "/api/v1/suppressions", "/api/v1/statistics/email",
                    "/api/v1/recipients/p1@d1.example?tenant=b",
                    "/api/v1/messages/email?message_id=none&recipient=p1@d1.example"):  # fmt: skip
            client.get(url)
    assert lines(api) == []
    assert lines(api, "b") == []


def test_a_message_and_an_export_are_lines(api):
    message = a_message(api)
    with api.client("a reader") as client:
        assert client.get("/api/v1/messages/email", params=message).status_code == 200
        export = client.get("/api/v1/logs/email/export", params={"status": "Bounce"})
        assert export.status_code == 200
        assert client.get("/api/v1/logs/sms/export?format=ndjson").status_code == 200
    looked, *exported = lines(api)
    assert (looked["object_type"], looked["object"]) == ("message", message["message_id"])
    assert looked["detail"] == message["recipient"]
    assert [(row["object"], row["detail"]) for row in exported] == [
        ("email", "csv; status=Bounce"), ("sms", "ndjson"),
    ]  # fmt: skip


def test_signing_in_and_out_are_lines_and_so_is_failing_to(api):
    with api.client(None) as client:
        token = token_of(client.get("/sign-in").text)
        client.post("/sign-in", data={"token": token, "key": "sk_nothing"})
        client.post("/sign-in", data={"token": token, "key": "sk_nothing else"})
        api.sign_in(client, "both")
        page = client.get("/tenants").text
        client.post("/sign-out", data={"token": token_of(page)})
    assert brief(lines(api, "*")) == [("page", "sign_in", "", "", "refused")]
    for tenant in ("a", "b"):
        assert brief(lines(api, tenant)) == [
            ("page", "sign_in", "", "", "done"), ("page", "sign_out", "", "", "done"),
        ]  # fmt: skip
        assert {row["actor"] for row in lines(api, tenant)} == {"both"}


def test_looks_at_pages_are_lines_and_the_hint_and_the_count_are_not(api):
    message = a_message(api)
    with api.client(None) as client:
        api.sign_in(client, "a reader")
        pages = [
            "/records/family/1", "/addresses?address=p1@d1.example", "/logs/email?q=invoice",
            "/logs/email/newer?q=invoice", "/logs/email/count?q=invoice",
            "/blacklist/email?address=p2@d2.example", "/logs/email/export?q=invoice",
        ]  # fmt: skip
        for page in pages:
            assert client.get(page).status_code == 200
        assert client.get("/messages/email", params=message).status_code == 200
    assert brief(lines(api))[1:] == [
        ("page", "look", "record", "family/1", "done"),
        ("page", "look", "address", "p1@d1.example", "done"),
        ("page", "look", "log", "email", "done"),
        ("page", "look", "address", "p2@d2.example", "done"),
        ("page", "export", "log", "email", "done"),
        ("page", "look", "message", message["message_id"], "done"),
    ]


def test_what_a_person_sees_in_a_frame_is_under_their_name(api):
    key = api.app.state.app_state.keys.find(api.keys["a"])
    token = token_for(api, key, "1")
    with api.client(None) as client:
        assert client.get(f"/embed/records/family/1?token={token}").status_code == 200
        assert client.get(f"/embed/logs/email?token={token}").status_code == 200
    assert brief(lines(api)) == [("embedded", "look", "record", "family/1", "done")]
    assert lines(api)[0]["actor"] == "Ann Clark (a)"


def test_a_token_for_a_frame_is_a_line(api):
    body = {"record_type": "family", "record_id": "1", "actor": "Ann Clark",
            "origins": ["https://app.example.com"]}  # fmt: skip
    with api.client("a") as client:
        for _ in range(2):
            assert client.post("/api/v1/embed-tokens", json=body).status_code == 200
    assert brief(lines(api)) == [("api", "embed_token", "record", "family/1", "done")]
    assert lines(api)[0]["detail"] == "for Ann Clark: read"


def test_changes_are_lines_with_their_reason_and_what_came_of_them(api):
    where = "/api/v1/suppressions/email/p1@d1.example"
    resets = {"addresses": [{"channel": "email", "address": "p1@d1.example"},
                            {"channel": "email", "address": "nobody@d1.example"}]}  # fmt: skip

    def refuse(command):
        api.add_history_row(
            "a", command.address, "refused", cause_event_id=command.id, reason="no", rule=""
        )

    with api.client("a") as client:
        assert client.post(f"{where}/reset", json={"reason": "she wrote"}).status_code == 202
        api.on_command = refuse
        assert client.post(f"{where}/add", json={"reason": "she asked"}).status_code == 409
        api.on_command = None
        api.kafka_answers = False
        assert client.post(f"{where}/reset", json={"reason": "again"}).status_code == 503
        api.kafka_answers = True
        assert client.post(f"{where}/reset", json={"reason": " "}).status_code == 422
        reset = {**resets, "reason": "an outage"}
        assert client.post("/api/v1/suppressions/resets", json=reset).status_code == 200
        assert client.post("/api/v1/suppressions/resets", json={**reset, "preview": True})
    assert [(r["action"], r["object"], r["detail"], r["outcome"]) for r in lines(api)] == [
        ("reset", "p1@d1.example", "she wrote", "pending"),
        ("add", "p1@d1.example", "she asked", "refused"),
        ("reset", "p1@d1.example", "again", "failed"),
        ("bulk_reset", "p1@d1.example", "an outage", "pending"),
        ("bulk_reset", "nobody@d1.example", "an outage", "refused"),
    ]


def test_a_reset_by_a_page_is_one_line(api):
    with api.client(None) as client:
        api.sign_in(client, "a")
        where = "/blacklist/email?address=p2%40d2.example"
        token = token_of(client.get(where).text)
        client.post(where, data={"token": token, "do": "reset", "reason": "she wrote"})
    assert brief(lines(api, action="reset")) == [
        ("page", "reset", "address", "p2@d2.example", "pending")
    ]


def put(api, *rows):
    for row in rows:
        api.app.state.app_state.audit_trail.add(AuditLine(**{
            "tenant_id": "a", "actor": "kim", "via": "page", "action": "export", **row,
        }))  # fmt: skip
    api.app.state.app_state.audit_trail.flush()


def test_the_api_shows_lines_page_by_page_by_who_what_and_when(api):
    day = datetime(2026, 11, 20, tzinfo=UTC)
    put(api, *(
        {"occurred_at": day + timedelta(hours=number // 2), "object": f"o{number}"}
        for number in range(5)
    ), {"actor": "Ann", "action": "look", "object": "family/9", "detail": "x@example.com",
        "occurred_at": day + timedelta(days=2)},
       {"tenant_id": "b", "object": SECRET})  # fmt: skip
    with api.client("a admin") as client:
        seen, cursor = [], None
        while cursor is not None or not seen:
            place = {"cursor": cursor} if cursor else {}
            reply = client.get("/api/v1/audit", params={"limit": 2, **place})
            assert reply.status_code == 200, reply.text
            seen += [row["object"] for row in reply.json()["rows"]]
            cursor = reply.json()["next"]
        assert seen[0] == "family/9"
        assert sorted(seen[1:]) == ["o0", "o1", "o2", "o3", "o4"]
        for asked in ({"actor": "ann"}, {"action": "look"}, {"object": "FAMILY"},
                      {"object": "x@exam"}, {"since": "2026-11-21"}):  # fmt: skip
            rows = client.get("/api/v1/audit", params=asked).json()["rows"]
            assert [row["object"] for row in rows] == ["family/9"], asked
        until = client.get("/api/v1/audit", params={"until": "2026-11-20T01:00:00Z"}).json()
        assert sorted(row["object"] for row in until["rows"]) == ["o0", "o1"]


@pytest.mark.parametrize("key", ["a", "a reader", "b"])
def test_a_key_without_the_scope_is_refused(api, key):
    with api.client(key) as client:
        assert client.get("/api/v1/audit").status_code == 403
        assert client.get("/api/v1/audit/export").status_code == 403
    with api.client(None) as client:
        api.sign_in(client, key)
        assert client.get("/audit").status_code == 403
        assert client.get("/audit/export").status_code == 403
        assert 'href="/audit"' not in client.get("/logs/email").text


def test_an_administrator_sees_their_own_tenant_and_no_other(api):
    put(api, {"object": "of a"}, {"tenant_id": "b", "object": SECRET},
        {"tenant_id": "*", "object": SECRET})  # fmt: skip
    with api.client("a admin") as client:
        assert [row["object"] for row in client.get("/api/v1/audit").json()["rows"]] == ["of a"]
        for tenant in ("b", "*"):
            assert client.get("/api/v1/audit", params={"tenant": tenant}).status_code == 403
        assert SECRET not in client.get("/api/v1/audit/export").text
    with api.client("operator") as client:
        everybodys = client.get("/api/v1/audit", params={"tenant": "*"}).json()["rows"]
        assert [row["object"] for row in everybodys] == [SECRET]


def test_a_page_has_the_lines_and_a_file_with_no_formulas(api):
    put(api, {"object": "=1+1", "detail": "csv; <script>"}, {"tenant_id": "b", "object": SECRET})
    with api.client(None) as client:
        api.sign_in(client, "a admin")
        page = client.get("/audit?object=%3D1").text
        assert "=1+1" in page
        assert "csv; &lt;script&gt;" in page
        assert SECRET not in client.get("/audit").text
        wrong = client.get("/audit?first=never")
        assert wrong.status_code == 422
        assert "&#39;never&#39; is no day" in wrong.text
        assert "=1+1" not in client.get("/audit?last=2020-01-01").text
        file = client.get("/audit/export?object=%3D1")
        assert file.headers["content-disposition"].startswith('attachment; filename="audit-')
        [row] = csv.DictReader(io.StringIO(file.text))
        assert (row["actor"], row["object"]) == ("kim", "'=1+1")
    assert [row["object_type"] for row in lines(api, actor="a admin", action="export")] == ["audit"]


def test_the_same_look_after_some_minutes_is_another_line(api, monkeypatch):
    trail = api.app.state.app_state.audit_trail
    now = time.monotonic()
    monkeypatch.setattr(trail, "_clock", lambda: now)
    look = {"action": "look", "object_type": "record", "object": "family/1"}
    put(api, look, look)
    now += LOOK_SECONDS - 1
    put(api, look)
    assert len(lines(api)) == 1
    now += 2
    put(api, look, {**look, "actor": "Ann"}, {**look, "object": "family/2"})
    assert len(lines(api)) == 4


def test_what_is_collected_is_written_when_the_application_stops(engine):
    api = empty_api(engine.url, "audit_at_stop")
    api.add_key("a", ["a"])
    with api.client("a") as client:
        client.get("/api/v1/records/family/1")
    rows = list_audit_lines(api.connect(), api.database, "a", AuditFilter(), limit=9)
    assert [row["object"] for row in rows] == ["family/1"]
