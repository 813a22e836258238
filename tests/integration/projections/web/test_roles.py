"""What each role may do: every page and endpoint, by people and by keys, from one table."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from starlette.testclient import TestClient

from projections.web import pages
from tests.api import SECRET, api_with_data, token_of
from tests.embedding import token_for
from tests.integration.projections.web.test_open_id import SECRET as SESSION_SECRET
from tests.integration.projections.web.test_open_id import site_with
from tests.open_id_issuer import go_and_return, running_issuer, sign_in_at

ROLES = ("support", "manager", "analyst", "admin")
EVERYBODY, NOBODY = set(ROLES), set()
ADDRESS = "p1@d1.example"
RESET = {"addresses": [{"channel": "email", "address": ADDRESS}], "reason": "x"}

#: Who may open a page.
PAGES = {
    "/overview/email": EVERYBODY,
    "/logs/email": EVERYBODY,
    "/logs/email/newer": EVERYBODY,
    "/logs/email/count": EVERYBODY,
    "/logs/email/export": {"manager", "analyst", "admin"},
    "/messages/email?message_id=a-email-0&recipient={recipient}": EVERYBODY,
    f"/addresses?address={ADDRESS}": EVERYBODY,
    "/records/family/1": EVERYBODY,
    "/unmatched": EVERYBODY,
    "/blacklist": EVERYBODY,
    f"/blacklist/email?address={ADDRESS}": EVERYBODY,
    "/blacklist/resets": {"manager", "admin"},
    "/audit": {"admin"},
    "/audit/export": {"admin"},
    "/tenants": EVERYBODY,
    "/time-zone": EVERYBODY,
    "/help/statuses": EVERYBODY,
    "/dead-letters": NOBODY,  # only an admin of all tenants
    "/dead-letters/email.events.ses/1/7/-1": NOBODY,
}
#: Who may send a form: its path, and its fields.
FORMS = {
    (f"/blacklist/email?address={ADDRESS}", "reset"): {"support", "manager", "admin"},
    (f"/blacklist/email?address={ADDRESS}", "add"): {"support", "manager", "admin"},
    (f"/blacklist/email/provider-lists?address={ADDRESS}", ""): {"support", "manager", "admin"},
    ("/messages/email?message_id=a-email-0&recipient={recipient}", "resend"): {
        "support",
        "manager",
        "admin",
    },
    ("/logs/email/views?q=x", "save"): EVERYBODY,
    ("/logs/email/views?q=x", "delete"): EVERYBODY,
    ("/blacklist/resets", "preview"): {"manager", "admin"},
    ("/blacklist/resets", "reset"): {"manager", "admin"},
}
#: Who may call an endpoint, with its body.
ENDPOINTS = {
    ("GET", "/logs/{channel}"): EVERYBODY,
    ("GET", "/logs/{channel}/export"): {"manager", "analyst", "admin"},
    ("GET", "/recipients/{address}"): EVERYBODY,
    ("GET", "/messages/{channel}"): EVERYBODY,
    ("POST", "/messages/{message_id}/resend"): {"support", "manager", "admin"},
    ("GET", "/records/{record_type}/{record_id}"): EVERYBODY,
    ("POST", "/standings"): EVERYBODY,
    ("POST", "/embed-tokens"): EVERYBODY,
    ("GET", "/statistics/{channel}"): EVERYBODY,
    ("GET", "/statistics/{channel}/stuck"): EVERYBODY,
    ("GET", "/suppressions"): EVERYBODY,
    ("GET", "/suppressions/{channel}/{address}"): EVERYBODY,
    ("GET", "/suppressions/{channel}/{address}/history"): EVERYBODY,
    ("POST", "/suppressions/{channel}/{address}/reset"): {"support", "manager", "admin"},
    ("POST", "/suppressions/{channel}/{address}/add"): {"support", "manager", "admin"},
    ("POST", "/suppressions/{channel}/{address}/provider-lists"): {"support", "manager", "admin"},
    ("POST", "/suppressions/resets"): {"manager", "admin"},
    ("GET", "/unmatched"): EVERYBODY,
    ("GET", "/audit"): {"admin"},
    ("GET", "/audit/export"): {"admin"},
    ("GET", "/dead-letters"): NOBODY,
    ("GET", "/dead-letters/{topic}/{partition}/{offset}/{element}"): NOBODY,
}
BODIES = {
    "/standings": {"addresses": RESET["addresses"]},
    "/embed-tokens": {"record_type": "family", "record_id": "1", "actor": "Ann",
                      "origins": ["https://app.example.com"]},
    "/suppressions/resets": RESET | {"preview": True},
}  # fmt: skip
PLACES = {
    "channel": "email", "address": ADDRESS, "message_id": "a-email-0",
    "record_type": "family", "record_id": "1",
    "topic": "email.events.ses", "partition": "1", "offset": "7", "element": "-1",
}  # fmt: skip
OPEN = {"/healthz", "/readyz"}
#: Paths of pages that need no session, or are another's: signing in, static files, frames.
UNGUARDED = ("/sign-in", "/sign-out", "/static/", "/embed/", "/api", "/healthz", "/readyz")


@pytest.fixture(scope="module")
def api(engine):
    api = api_with_data(engine.url, "roles", session_secret=SESSION_SECRET, outcome_seconds=0)
    for role in ROLES:
        api.add_role_key(role, ["a"])
        api.add_role_key(f"{role} of all", ["*"], role)
    return api


@pytest.fixture(scope="module")
def recipient(api):
    with api.client("a") as client:
        rows = client.get("/api/v1/logs/email?limit=100").json()["rows"]
    return next(row["recipient"] for row in rows if row["message_id"] == "a-email-0")


@pytest.fixture(scope="module")
def people(api):
    """Yield a client for each role, signed in at a provider."""
    clients = {}
    with running_issuer() as issuer:
        sign_in = sign_in_at(issuer, roles={role: [("a", role)] for role in ROLES})
        app = site_with(api, sign_in, rate=1e5, burst=100_000)
        for role in ROLES:
            clients[role] = TestClient(app, raise_server_exceptions=False).__enter__()
            issuer.claims["groups"] = [role]
            assert go_and_return(clients[role], issuer).status_code == 303
        yield clients
        for client in clients.values():
            client.__exit__(None, None, None)


@pytest.mark.parametrize("path", PAGES)
def test_each_role_opens_the_pages_that_it_may(people, recipient, path):
    path = path.format(recipient=recipient)
    statuses = {role: people[role].get(path).status_code for role in ROLES}
    allowed = PAGES[path.replace(recipient, "{recipient}") if "recipient=" in path else path]
    assert statuses == {role: 200 if role in allowed else 403 for role in ROLES}


@pytest.mark.parametrize(("path", "what"), FORMS)
def test_each_role_sends_the_forms_that_it_may_and_sees_no_others(
    api, people, recipient, path, what
):
    allowed = FORMS[path, what]
    path = path.format(recipient=recipient)
    for role in ROLES:
        api.commands.clear()
        form = {"token": token_of(people[role].get("/logs/email").text), "do": what, "reason": "x",
                "addresses": ADDRESS, "name": "x"}  # fmt: skip
        status = people[role].post(path, data=form, follow_redirects=False).status_code
        assert (status in {200, 303}) is (role in allowed), (role, status)
        assert status == 403 or role in allowed
        is_change = role in allowed and what in {"reset", "add", "resend"}
        assert len(api.commands) == is_change
        page = people[role].get(path)
        if page.status_code == 200:
            assert ('name="reason"' in page.text) is (role in allowed), role


def test_what_a_role_may_not_do_is_not_offered(people):
    log = {role: people[role].get("/logs/email").text for role in ROLES}
    assert {role for role in ROLES if "/export" in log[role]} == {"manager", "analyst", "admin"}
    blacklist = {role: people[role].get("/blacklist?channel=email").text for role in ROLES}
    offered = {role for role in ROLES if "/blacklist/resets" in blacklist[role]}
    assert offered == {"manager", "admin"}
    by_hand = {role for role in ROLES if "Blacklist an address by hand" in blacklist[role]}
    assert by_hand == {"support", "manager", "admin"}
    assert not [role for role in ROLES if "/dead-letters" in log[role]]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_a_key_with_a_role_calls_the_endpoints_that_it_may(api, recipient, method, path):
    allowed = ENDPOINTS[method, path]
    message = {"message_id": "a-email-0", "recipient": recipient}
    parameters = message if path == "/messages/{channel}" else {}
    where = path
    for name, value in PLACES.items():
        where = where.replace(f"{{{name}}}", value)
    body = {"json": BODIES.get(path, {"reason": "x"})} if method == "POST" else {}
    if path.endswith("/resend"):
        body = {"json": {"channel": "email", "recipient": recipient, "reason": "x"}}
    for role in ROLES:
        with api.client(role) as client:
            reply = client.request(method, f"/api/v1{where}", params=parameters, **body)
            assert (reply.status_code < 300) is (role in allowed), (role, reply.text)
            assert reply.status_code in {200, 202, 403}
            other = client.request(method, f"/api/v1{where}", params=parameters | {"tenant": "b"},
                                   **body)  # fmt: skip
            assert (other.status_code, SECRET in other.text) == (
                403 if "dead" not in path else other.status_code, False,
            ), role  # fmt: skip


def test_the_table_has_every_endpoint_and_every_page(api):
    operations = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, methods in api.app.openapi()["paths"].items() if path not in OPEN
        for method in methods
    }  # fmt: skip
    assert {(method, path.replace(":path", "")) for method, path in operations} == set(ENDPOINTS)
    shown = {path.partition("?")[0] for path in PAGES} | {
        path.partition("?")[0] for path, _ in FORMS
    }
    for method, path in page_routes():
        pattern = path.replace("{channel}", "email").replace("{record_type}", "family")
        pattern = pattern.replace("{record_id:path}", "1").replace("{topic}", "email.events.ses")
        pattern = pattern.replace("{partition}/{offset}/{element}", "1/7/-1")
        assert pattern in shown or path == "/", (method, path)


def page_routes():
    """Return method and path of each route of the pages that asks who somebody is."""
    for module in pkgutil.iter_modules(pages.__path__, "projections.web.pages."):
        router = getattr(importlib.import_module(module.name), "router", None)
        for route in router.routes if router else ():
            if not route.path.startswith(UNGUARDED):
                yield from ((method, route.path) for method in route.methods)


def test_only_the_role_admin_for_all_tenants_sees_dead_letters(api):
    for role in ROLES:
        with api.client(f"{role} of all") as client:
            status = client.get("/api/v1/dead-letters").status_code
            assert status == (200 if role == "admin" else 403), role
            assert client.get("/api/v1/logs/email?tenant=b").status_code == 200


def test_a_role_that_this_version_does_not_know_may_do_nothing(api):
    api.add_role_key("of another version", ["a"], "janitor")
    with api.client("of another version") as client:
        reply = client.get("/api/v1/logs/email")
        assert (reply.status_code, reply.json()["detail"]) == (
            403, "this key lacks the scope 'read'",
        )  # fmt: skip


def test_a_frame_exports_its_log_only_if_its_key_may(api):
    with api.client(None) as client:
        for role, status in (("support", 403), ("analyst", 200)):
            key = api.add_role_key(f"application of {role}", ["a"], role)
            parameters = {"token": token_for(api, key, "1")}
            assert client.get("/embed/logs/email/export", params=parameters).status_code == status
            page = client.get("/embed/logs/email", params=parameters)
            assert (page.status_code, "/export" in page.text) == (200, status == 200)


def test_a_key_made_with_scopes_may_do_what_it_always_could(api):
    with api.client("a reader") as client:
        assert client.get("/api/v1/logs/email/export").status_code == 200
        assert client.post("/api/v1/suppressions/resets", json=RESET).status_code == 403
    with api.client("a") as client:
        body = RESET | {"preview": True}
        assert client.post("/api/v1/suppressions/resets", json=body).status_code == 200
