"""Saved views: a search under a name, for its owner alone, with a bound and harmless names."""

from __future__ import annotations

import re
from contextlib import contextmanager
from html import unescape
from urllib.parse import parse_qsl, urlsplit

import pytest

from projections.queries.saved_views import SavedView, ViewOwner, copy_views, list_views, store_view
from projections.web.pages.saved_views import MAX_VIEWS
from tests.api import empty_api, token_of
from tests.embedding import token_for

SEARCH = "/logs/email?status=Bounce&filter=date%3E%3D6+days+ago&sort=recipient&columns=date"


@pytest.fixture(scope="module")
def api(engine):
    api = empty_api(engine.url, "saved_views")
    for name, tenants in (("a", ["a"]), ("colleague", ["a"]), ("b", ["b"]), ("both", ["a", "b"])):
        api.add_key(name, tenants)
    return api


@pytest.fixture
def client(api):
    # A key of its own, so that no test has the views of another.
    api.add_key("fresh", ["a"])
    with signed_in(api, "fresh") as client:
        yield client


@contextmanager
def signed_in(api, key):
    with api.client(None) as client:
        api.sign_in(client, key)
        yield client


def send(client, search, name, do="save"):
    path, _, query = search.partition("?")
    token = token_of(client.get("/logs/email?tenant=a").text)
    return client.post(
        f"{path}/views?{query}", data={"token": token, "do": do, "name": name},
        follow_redirects=False,
    )  # fmt: skip


def views(client, path="/logs/email"):
    """Return the saved views of a page: their names and URLs."""
    page = client.get(path)
    assert page.status_code == 200
    listed = re.search(r'<ul class="views".*?</ul>', page.text, re.DOTALL)
    links = re.findall(r'<a href="([^"]*)"[^>]*><bdi>(.*?)</bdi>', listed[0]) if listed else []
    return {unescape(name): unescape(url) for url, name in links}


def test_a_search_is_saved_opened_replaced_and_deleted(client):
    reply = send(client, SEARCH, "Bounced this week")
    assert (reply.status_code, reply.headers["location"]) == (303, SEARCH)
    assert views(client) == {"Bounced this week": SEARCH}
    assert "Views: <bdi>Bounced this week</bdi>" in client.get(SEARCH).text
    assert "Views: <bdi>" not in client.get("/logs/email").text
    send(client, "/logs/email?status=Open", "Bounced this week")
    assert views(client) == {"Bounced this week": "/logs/email?status=Open"}
    send(client, "/logs/email?q=x", "all")
    assert list(views(client)) == ["all", "Bounced this week"]
    reply = send(client, "/logs/email?q=here", "Bounced this week", "delete")
    assert reply.headers["location"] == "/logs/email?q=here"
    assert views(client) == {"all": "/logs/email?q=x"}
    send(client, SEARCH, "Bounced this week")
    assert views(client)["Bounced this week"] == SEARCH


def test_each_log_has_views_of_its_own(client):
    send(client, "/logs/sms?status=Failed", "x")
    assert views(client) == {}
    assert views(client, "/logs/sms") == {"x": "/logs/sms?status=Failed"}


def test_nobody_sees_changes_or_deletes_the_views_of_others(api, client):
    send(client, SEARCH, "mine")
    for key, own in (("colleague", "?tenant=a"), ("both", "?tenant=a"), ("both", "?tenant=b")):
        with signed_in(api, key) as other:
            assert views(other, f"/logs/email{own}") == {}
            assert send(other, f"/logs/email{own}", "mine", "delete").status_code == 303
            assert send(other, f"/logs/email{own}&q=theirs", "mine").status_code == 303
    with signed_in(api, "both") as other:  # the same person, by tenant
        assert views(other, "/logs/email?tenant=a") == {"mine": "/logs/email?tenant=a&q=theirs"}
        send(other, "/logs/email?tenant=b", "of b")
        assert list(views(other, "/logs/email?tenant=a")) == ["mine"]
        assert list(views(other, "/logs/email?tenant=b")) == ["mine", "of b"]
    with signed_in(api, "b") as other:
        assert other.post("/logs/email/views?tenant=a", data={}).status_code == 403
    assert views(client) == {"mine": SEARCH}


def test_only_what_makes_a_search_is_saved(api, client):
    search = "/logs/email?q=x&tenant=a&total=true&cursor=AAAA&theme=dark&next=//evil.example"
    assert send(client, search, "x").status_code == 303
    assert views(client) == {"x": "/logs/email?q=x"}
    key = ViewOwner(tenant_id="a", owner=key_id(api, "fresh"), channel="email")
    assert list_views(api.connect(), api.database, key) == [SavedView(name="x", query="q=x")]


def key_id(api, name):
    return api.app.state.app_state.keys.find(api.keys[name]).id


def test_a_form_of_another_site_saves_nothing(client):
    for token in ("", "x"):
        form = {"token": token, "do": "save", "name": "x"}
        assert client.post("/logs/email/views?q=x", data=form).status_code == 403
    assert views(client) == {}


@pytest.mark.parametrize(
    ("search", "name", "problem"),
    [
        ("/logs/email?q=x", " \n\t\u202e ", "A view needs a name."),
        ("/logs/email?q=x", "x" * 81, "The name of a view has at most 80 characters."),
        ("/logs/email?" + "filter=subject~" + "x" * 990 + "&filter=subject~" + "y" * 990
         + "&filter=subject~" + "z" * 990 + "&filter=subject~" + "é" * 900, "x",
         "This search is too long to be saved: over 4000 characters."),
        ("/logs/email?status=Bounced", "x", "Status"),
        ("/logs/email?filter=nothing", "x", "nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_saved_is_said_on_the_page(client, search, name, problem):
    reply = send(client, search, name)
    assert reply.status_code == 422
    assert problem in reply.text
    assert views(client) == {}


def test_there_are_at_most_fifty_views_but_each_can_be_replaced(api, client):
    owner = ViewOwner(tenant_id="a", owner=key_id(api, "fresh"), channel="email")
    for number in range(MAX_VIEWS):
        store_view(api.connect(), api.database, owner, SavedView(name=f"v{number}", query="q=x"))
    reply = send(client, "/logs/email?q=x", "one more")
    assert reply.status_code == 422
    assert "There are 50 views already; delete one first." in reply.text
    assert 'value="one more"' in reply.text
    assert send(client, "/logs/email?q=new", "v7").status_code == 303
    assert len(views(client)) == 50
    assert views(client)["v7"] == "/logs/email?q=new"
    assert send(client, "/logs/email", "v7", "delete").status_code == 303
    assert send(client, "/logs/email?q=x", "one more").status_code == 303
    assert len(views(client)) == 50


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ('"><img src=x onerror=alert(2)>', '"><img src=x onerror=alert(2)>'),
        ("two\r\nlines\tand\x00nul", "two lines and nul"), ("\u202eevil", "evil"),
        ("{{ 7 * 7 }}", "{{ 7 * 7 }}"), ("'; DROP TABLE saved_views; --",) * 2,
        ("עברית 😀",) * 2, ("\\' OR 1=1",) * 2,
    ],
)  # fmt: skip
def test_a_hostile_name_is_a_text_of_one_line(client, name, shown):
    assert send(client, "/logs/email?q=x", name).status_code == 303
    page = client.get("/logs/email?q=x").text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert views(client) == {shown: "/logs/email?q=x"}
    send(client, "/logs/email", shown, "delete")
    assert views(client) == {}


def test_hostile_values_of_a_search_come_back_as_they_were(client):
    value = "\"'><script>&q=z\x00é#?+% "
    search = str(client.build_request("GET", "/logs/email", params={"q": value}).url)
    assert send(client, search, "x").status_code == 303
    assert parse_qsl(urlsplit(views(client)["x"]).query) == [("q", value)]


def test_the_key_in_place_of_another_has_its_views(api, client):
    send(client, SEARCH, "kept")
    send(client, SEARCH, "deleted")
    send(client, SEARCH, "deleted", "delete")
    key = api.add_key("in its place", ["a"])
    copy_views(api.connect(), api.database, key_id(api, "fresh"), key.id)
    with signed_in(api, "in its place") as other:
        assert views(other) == {"kept": SEARCH}
        send(other, SEARCH, "kept", "delete")
    assert views(client) == {"kept": SEARCH}


def test_a_frame_has_no_views(api):
    key = api.add_key("application", ["a"])
    with signed_in(api, "application") as client:
        send(client, "/logs/email?q=x", "of the key")
        assert list(views(client)) == ["of the key"]
    with api.client(None) as client:
        parameters = {"token": token_for(api, key, "1")}
        page = client.get("/embed/logs/email", params=parameters)
        assert (page.status_code, "of the key" in page.text) == (200, False)
        assert "/views" not in page.text
        assert client.post("/embed/logs/email/views", params=parameters).status_code == 404


def test_the_log_is_shown_where_there_is_no_table_of_views(engine):
    api = empty_api(engine.url, "no_views")
    api.connect().command("DROP TABLE no_views.saved_views")
    api.add_key("a", ["a"])
    with signed_in(api, "a") as client:
        page = client.get("/logs/email")
        assert (page.status_code, "Saved views are not available now." in page.text) == (200, True)
        assert send(client, "/logs/email?q=x", "x").status_code == 503


def test_the_menu_and_the_days_of_a_view_are_in_the_readers_language(client):
    send(client, SEARCH, "x")
    page = client.get(SEARCH, headers={"Accept-Language": "es"}).text
    assert "Vistas: <bdi>x</bdi>" in page
    assert "Eliminar la vista: x" in page
    assert "<bdi>fecha desde hace 6 días</bdi>" in page
    assert "<bdi>fecha desde hoy</bdi>" in client.get(
        "/logs/email?filter=date%3E%3Dtoday", headers={"Accept-Language": "es"}
    ).text  # fmt: skip
