"""Access to the API: keys, scopes, rates, tenants, and hostile values in parameters."""

from __future__ import annotations

import json
import re
from itertools import cycle, islice, product

import pytest
from starlette.testclient import TestClient

from projections.queries import api_keys
from projections.web.problems import ProblemError
from tests.api import SECRET, api_with_data, empty_api
from tests.system import wait_for

LOGS = "/api/v1/logs/email"
#: Paths without a tenant and without a key.
OPEN = {"/healthz", "/readyz"}
HOSTILE = [
    "' OR 1=1 --", "\\'; DROP TABLE events; --", "{p0:String}", "%(p0)s", "<script>a(1)</script>",
    "\u202e\u05e2\u05d1\u2066", "a\x00b", "x" * 10_000, "😀" * 300, "-1", "9" * 400, "nan",
    "../../etc",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "a\r\nX-Header: b", "%", "\\", "",
]  # fmt: skip


@pytest.fixture(scope="module")
def api(engine):
    return api_with_data(engine.url, "api_access", outcome_seconds=0)


def endpoints(api):
    """Return (method, path, names of path parameters, names of query parameters) of the API."""
    operations = []
    for path, methods in api.app.openapi()["paths"].items():
        for method, about in methods.items():
            named = {"path": [], "query": []}
            for parameter in about.get("parameters", ()):
                named[parameter["in"]].append(parameter["name"])
            operations.append((method, path, named["path"], named["query"]))
    assert len(operations) > 12
    return operations


#: A value of each path parameter that there is something for; of B, what B has.
PLACES = {"channel": "email", "address": "p1@d1.example", "topic": "email.events.ses",
          "partition": "1", "offset": "7", "element": "-1", "record_type": "family",
          "record_id": "1"}  # fmt: skip
OF_B = {**PLACES, "address": f"{SECRET}@example.com"}
#: A message of B, and to whom it went.
NEEDED = {"message_id": "b-email-1", "recipient": "p4@d1.example"}


def request(client, method, path, places, parameters=()):
    for name, value in places.items():
        path = path.replace(f"{{{name}}}", value)
    body = {"json": {"reason": "because"}} if method == "post" else {}
    return client.request(method, path, params=dict(parameters), **body)


def is_problem(reply, status):
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    return problem


@pytest.mark.parametrize("key", ["a", "a admin"])
@pytest.mark.parametrize("places", [PLACES, OF_B], ids=["mine", "theirs"])
def test_no_path_shows_anything_of_another_tenant(api, key, places):
    with api.client(key) as client:
        for method, path, _, named in endpoints(api):
            needed = {name: NEEDED[name] for name in named if name in NEEDED and "mess" in path}
            tries = [{}]
            if "filter" in named:
                tries += [
                    {"filter": "tenant_id=b"},
                    {"filter": "tenant_id!=a"},
                    {"q": "zebra"},
                    {"filter": "message_id~b-email"},
                    {"as_of": "2026-12-01", "q": "zebra"},
                ]
            if "format" in named:
                tries += [{"format": form, "filter": "tenant_id=b"} for form in ("csv", "ndjson")]
            if "address" in named:
                tries += [{"address": "zebra"}]
            for extra in tries:
                parameters = needed | extra
                reply = request(client, method, path, places, parameters)
                assert reply.status_code < 500, (path, reply.text)
                text = reply.text.replace(f"{SECRET}@example.com", "")  # what the caller named
                assert SECRET not in text, (path, parameters)
                assert '"tenant_id":"b"' not in text, (path, parameters)
                if "tenant_id=b" in extra.values() and reply.status_code == 200:
                    assert not reply.text.strip().partition("\n")[2]  # a heading at most
                if path not in OPEN:
                    theirs = request(client, method, path, places, {**parameters, "tenant": "b"})
                    nobodys = request(
                        client, method, path, places, {**parameters, "tenant": "nobody"}
                    )
                    assert theirs.status_code in {403, 422}, (path, theirs.text)
                    assert theirs.text == nobodys.text
        assert not [command for command in api.commands if command.tenant_id != "a"]


def test_the_message_of_another_tenant_that_is_tried_is_there(api):
    for key, tenant, status in (
        ("b", "b", 200), ("both", "b", 200), ("operator", "b", 200), ("both", "a", 404),
        ("a", "a", 404), ("a admin", "a", 404), ("operator", "nobody", 404),
    ):  # fmt: skip
        with api.client(key) as client:
            reply = client.get("/api/v1/messages/email", params={**NEEDED, "tenant": tenant})
        assert reply.status_code == status, (key, tenant)
        if status == 200:
            assert {reply.json()["tenant_id"], reply.json()["row"]["tenant_id"]} == {"b"}
            assert reply.json()["row"]["subject"] == SECRET


@pytest.mark.parametrize("tenant", ["a", "b"])
def test_a_key_of_several_tenants_gets_of_each_what_its_own_key_gets(api, tenant):
    places = {**PLACES, "address": {"a": "p1@d1.example", "b": f"{SECRET}@example.com"}[tenant]}
    answered = []
    for method, path, _, named in endpoints(api):
        if method != "get" or path in OPEN or "tenant" not in named or "/audit" in path:
            continue  # what none of these keys may see is 403
        needed = {name: NEEDED[name] for name in named if name in NEEDED and "mess" in path}
        if "since" in named:  # or an answer ends now
            ends = {"since": "2026-11-01", "until": "2026-11-02"}
            needed |= {name: end for name, end in ends.items() if name in named}
        with api.client(tenant) as own, api.client("both") as both:
            expected = request(own, method, path, places, needed)
            reply = request(both, method, path, places, {**needed, "tenant": tenant})
            assert is_problem(request(both, method, path, places, needed), 400)
        assert (reply.status_code, reply.text) == (expected.status_code, expected.text), path
        if expected.status_code == 200:
            answered.append(path)
    history = "/api/v1/suppressions/{channel}/{address}/history"
    assert history in answered
    with api.client("both") as both:
        rows = request(both, "get", history, places, {"tenant": tenant}).json()["rows"]
    assert [row["reason"] for row in rows] == [{"a": "550 a's own", "b": SECRET}[tenant]]


def test_only_an_operator_sees_dead_letters(api):
    one = "/api/v1/dead-letters/email.events.ses/1/7/-1"
    for key in ("a", "a reader", "a admin", "b", "both"):
        with api.client(key) as client:
            for path in ("/api/v1/dead-letters", one):
                assert SECRET not in str(is_problem(client.get(path), 403))
    with api.client("operator") as client:
        rows = client.get("/api/v1/dead-letters").json()["rows"]
        assert [row["offset"] for row in rows] == [8, 7]
        assert client.get("/api/v1/dead-letters?reason=ZEBRA").json()["rows"] == rows[1:]
        first = client.get("/api/v1/dead-letters?limit=1").json()
        last = client.get(f"/api/v1/dead-letters?limit=1&cursor={first['next']}").json()
        assert (first["rows"] + last["rows"], last["next"]) == (rows, None)
        whole = client.get("/api/v1/dead-letters?limit=2").json()
        assert (whole["rows"], whole["next"]) == (rows, None)
        dead_letter = client.get(one).json()
        assert (dead_letter["raw"], dead_letter["headers"]) == ("/yBub3QgdGV4dA==", {"h": "v"})
        is_problem(client.get(one.replace("/7/", "/9/")), 404)


def test_without_a_valid_key_nothing_is_answered(api):
    with api.client(None) as client:
        for method, path, _, _ in endpoints(api):
            if path in OPEN:
                continue
            for header in (
                None,
                "Bearer sk_wrong",
                "Bearer ",
                "Basic YTpi",
                f"Bearer {'x' * 4000}",
            ):
                client.headers.pop("Authorization", None)
                if header is not None:
                    client.headers["Authorization"] = header
                reply = request(client, method, path, PLACES)
                is_problem(reply, 401)
                assert reply.headers["www-authenticate"].startswith("Bearer")


def test_a_key_of_several_tenants_says_which(api):
    with api.client("both") as client:
        [wrong] = is_problem(client.get(LOGS), 400)["errors"]
        assert wrong["parameter"] == "tenant"
        for tenant in ("a", "b"):
            rows = client.get(LOGS, params={"tenant": tenant}).json()["rows"]
            assert {row["tenant_id"] for row in rows} == {tenant}
        is_problem(client.get(LOGS, params={"tenant": "c"}), 403)
    with api.client("operator") as client:
        is_problem(client.get(LOGS), 400)
        assert client.get(LOGS, params={"tenant": "b"}).json()["rows"]
        assert client.get(LOGS, params={"tenant": "nobody"}).json()["rows"] == []


def test_a_tenant_named_twice_is_refused(api):
    with api.client("a") as client:
        for pair in (["a", "b"], ["b", "a"]):
            reply = client.get(LOGS, params={"tenant": pair})
            assert reply.status_code == 422
            assert SECRET not in reply.text


def test_a_new_key_is_taken_at_once_and_a_revoked_one_refused_within_five_seconds(api):
    new_key = api.add_key("short-lived", ["a"])
    with api.client("short-lived") as client:
        # A key that is unknown may be a new one: the keys are read again, though not every time.
        wait_for(lambda: client.get(LOGS).status_code == 200, "the new key to be taken", 5)
        api_keys.store_revocation(api.connect(), api.database, new_key)
        wait_for(lambda: client.get(LOGS).status_code == 401, "the key to be refused", 5)
    keys = {key.name: key for key in api_keys.list_keys(api.connect(), api.database)}
    assert keys["short-lived"].revoked_at is not None
    stored = api.connect().query(f"SELECT * FROM {api.database}.api_keys").result_rows
    assert not [secret for secret in api.keys.values() if secret in str(stored)]


def test_a_key_that_asks_too_often_waits_and_others_do_not(api):
    slow = empty_api(api.url, api.database, rate=0.01, burst=3)
    slow.keys = api.keys
    with slow.client("a") as client, slow.client("b") as other:
        assert [client.get(LOGS).status_code for _ in range(3)] == [200] * 3
        reply = client.get(LOGS)
        is_problem(reply, 429)
        assert 90 <= int(reply.headers["retry-after"]) <= 101
        assert other.get(LOGS).status_code == 200


def test_hostile_words_in_any_parameter_are_refused_or_looked_for(api):
    values = cycle(HOSTILE)
    with api.client("operator") as client:
        for method, path, places, named in endpoints(api):
            if path in OPEN:
                continue
            usual = {"tenant": "a"} if "tenant" in named else {}
            usual |= {name: NEEDED[name] for name in named if name in NEEDED and "mess" in path}
            for name, value in product(named, islice(values, 3)):
                reply = request(client, method, path, PLACES, {**usual, name: value})
                assert reply.status_code < 500, (path, name, value[:50], reply.text)
                assert "Traceback" not in reply.text
            for name, value in product(places, islice(values, 4)):
                reply = request(client, method, path, {**PLACES, name: quoted(value)}, usual)
                assert reply.status_code < 500, (path, name, value[:50], reply.text)


def quoted(value):
    return re.sub(
        r"[^\w.]", lambda one: "".join(f"%{b:02X}" for b in one[0].encode()), value[:2000]
    )


OPERATORS = ["=", "!=", "~", "<", ">="]
COLUMNS = ["recipient", "date", "open_count", "smtp_code", "conflict", "tags", "sent_at", "status"]


@pytest.mark.parametrize("column", COLUMNS)
def test_hostile_words_in_any_filter_are_refused_or_looked_for(api, column):
    with api.client("a") as client:
        values = HOSTILE[COLUMNS.index(column) % 2 :: 2]
        for operator, value in zip(cycle(OPERATORS), values * 2, strict=False):
            reply = client.get(LOGS, params={"filter": f"{column}{operator}{value}"})
            assert reply.status_code in {200, 422}, (operator, value[:50], reply.text)
            if reply.status_code == 422:
                assert is_problem(reply, 422)["errors"], (operator, value[:50], reply.text)


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        (f"{LOGS}?limit=0", "limit"), (f"{LOGS}?limit=1001", "limit"), (f"{LOGS}?limit=x", "limit"),
        (f"{LOGS}?sort=subject", "sort"), (f"{LOGS}?order=up", "order"),
        (f"{LOGS}?cursor=AAAA", "cursor"), (f"{LOGS}?as_of=yesterday", "as_of"),
        (f"{LOGS}?as_of=1066-10-14", "as_of"), (f"{LOGS}?clock=wall", "clock"),
        (f"{LOGS}?filter=nonsense", "filter"), (f"{LOGS}?filter=colour=red", "filter"),
        (f"{LOGS}?filter=open_count=many", "filter"), (f"{LOGS}?filter=tags>x", "filter"),
        (f"{LOGS}?statsu=Bounce", "statsu"), (f"{LOGS}/export?format=xml", "format"),
        ("/api/v1/logs/fax", "channel"), ("/api/v1/messages/email?recipient=a", "message_id"),
        ("/api/v1/statistics/email?by=hour", "by"),
        ("/api/v1/statistics/email?since=2026-11-02&until=2026-11-01", "since"),
        ("/api/v1/statistics/email?since=2020-01-01&until=2026-01-01", "since"),
        ("/api/v1/statistics/email/stuck?hours=-1", "hours"),
        ("/api/v1/suppressions?rule=whim", "rule"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_refused_by_its_name(api, path, parameter):
    with api.client("a") as client:
        [wrong] = is_problem(client.get(path), 422)["errors"]
        assert wrong["parameter"] == parameter


def test_a_cursor_belongs_to_its_question(api):
    with api.client("both") as client:
        parameters = {"tenant": "a", "limit": 2}
        cursor = client.get(LOGS, params=parameters).json()["next"]
        assert (
            client.get(LOGS, params={**parameters, "cursor": cursor, "limit": 9}).status_code == 200
        )
        for other in ({"tenant": "b"}, {"sort": "status"}, {"order": "asc"}, {"q": "x"},
                      {"filter": "status=Sent"}, {"as_of": "2026-11-01"}):  # fmt: skip
            reply = client.get(LOGS, params={**parameters, **other, "cursor": cursor})
            assert is_problem(reply, 422)["errors"][0]["parameter"] == "cursor"


def test_what_there_is_not_is_said_as_a_problem(api):
    with api.client("a") as client:
        is_problem(client.get("/api/v1/nothing"), 404)
        is_problem(client.delete("/api/v1/suppressions"), 405)
        is_problem(client.post("/api/v1/suppressions/email/a@b.c/reset", content=b"{"), 422)


def test_every_answer_has_the_headers_of_a_careful_server(api):
    with api.client("a") as client:
        for path in (LOGS, f"{LOGS}/export", "/healthz", "/nothing", "/api/v1/openapi.json"):
            headers = client.get(path, headers={"Origin": "https://elsewhere.example"}).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert not [name for name in headers if name.startswith("access-control")]


def test_an_error_of_our_own_shows_nothing(api, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError(f"secret of {SECRET}")

    monkeypatch.setattr("projections.web.log_query.read_listing", broken)
    with api.client("a") as client:
        reply = client.get(LOGS)
        is_problem(reply, 500)
        assert SECRET not in reply.text
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_the_document_has_examples_and_every_error(api):
    with TestClient(api.app) as client:
        document = client.get("/api/v1/openapi.json").json()
    assert document["components"]["schemas"]["EmailRow"]["properties"]["status"]["examples"]
    for path, methods in document["paths"].items():
        for about in methods.values():
            assert about["summary"]
            if path not in OPEN:
                assert {"401", "403", "422", "429", "503"} <= set(about["responses"])
                assert about["security"]
    assert "HTTPValidationError" not in json.dumps(document)


def test_what_the_api_asks_of_the_database_can_only_read(api):
    database = api.app.state.app_state.database
    for sql in (f"DROP TABLE {api.database}.events", f"TRUNCATE TABLE {api.database}.events"):
        with pytest.raises(ProblemError), database.client() as client:
            client.command(sql)
    with api.client("a") as client:
        assert client.get(LOGS).json()["rows"]


def test_a_body_that_is_too_large_or_without_end_is_not_read(api):
    path = "/api/v1/suppressions/email/a@b.c/reset"
    with api.client(None) as client:
        is_problem(client.post(path, content=b"x" * 70_000), 413)
        is_problem(client.post(path, content=iter([b"x"] * 5)), 411)
