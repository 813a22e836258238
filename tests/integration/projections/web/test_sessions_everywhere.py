"""Signing out ends a session in every process; a key is rotated with an overlap, and expires."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from projections.queries import api_keys, ended_sessions
from projections.web.app import build_api
from tests.api import Api, empty_api

SECRET = b"s" * 32


@pytest.fixture(scope="module")
def api(engine):
    api = empty_api(engine.url, "sessions_everywhere", session_secret=SECRET)
    api.add_key("a", ["a"])
    return api


def another_process(api, **options):
    app = build_api(**{
        "connect": api.connect, "database": api.database, "publish_command": print,
        "kafka_answers": bool, "session_secret": SECRET, **options,
    })  # fmt: skip
    return Api(api.url, api.database, app, api.keys)


def is_signed_in(api, cookies):
    with api.client(None) as client:
        client.cookies.update(cookies)
        return client.get("/tenants", follow_redirects=False).status_code == 200


def test_signing_out_ends_a_session_everywhere_and_after_a_restart(api):
    other = another_process(api)
    with api.client(None) as client:
        token = api.sign_in(client, "a")
        page = client.get("/tenants").text
        token = page.split('name="token" value="')[1].split('"')[0]
        cookies = dict(client.cookies)
        assert is_signed_in(other, cookies)
        client.post("/sign-out", data={"token": token})
    assert not is_signed_in(api, cookies)
    assert not is_signed_in(another_process(api), cookies)
    other.app.state.app_state.ended_sessions._loaded_at -= ended_sessions.ENDED_CACHE_SECONDS
    assert not is_signed_in(other, cookies)


def test_a_session_ends_here_also_if_that_cannot_be_kept(api):
    reader = another_process(api)

    def readonly():
        client = api.connect()
        client.set_client_setting("readonly", "1")
        return client

    reader = another_process(api, connect=readonly)
    with reader.client(None) as client, capture_logs() as logs:
        reader.sign_in(client, "a")
        token = client.get("/tenants").text.split('name="token" value="')[1].split('"')[0]
        cookies = dict(client.cookies)
        assert client.post("/sign-out", data={"token": token}).status_code == 200
        assert not is_signed_in(reader, cookies)
    assert [line["event"] for line in logs if "session" in line["event"]] == [
        "session_end_not_kept"
    ]


def test_a_key_is_rotated_with_an_overlap(api):
    client, now = api.connect(), datetime.now(UTC)
    key, secret = api_keys.new_key("rotated", ["a"], ["read", "reset"])
    api_keys.store_key(client, api.database, key)
    fresh, fresh_secret = api_keys.store_rotation(client, api.database, key, timedelta(days=7))
    keys = {each.id: each for each in api_keys.list_keys(client, api.database)}
    earlier = keys[key.id]
    assert timedelta(days=6.9) < earlier.expires_at - now < timedelta(days=7.1)
    assert (fresh.name, fresh.tenants, fresh.scopes) == (key.name, key.tenants, key.scopes)
    cache = api_keys.KeyCache(lambda: api_keys.list_keys(client, api.database))
    assert cache.find(secret).id == key.id
    assert cache.find(fresh_secret).id == fresh.id
    # A later rotation does not make it valid for longer.
    api_keys.store_rotation(client, api.database, earlier, timedelta(days=70))
    keys = {each.id: each for each in api_keys.list_keys(client, api.database)}
    assert keys[key.id].expires_at == earlier.expires_at


def test_a_key_that_has_expired_is_refused(api):
    key, secret = api_keys.new_key("expired", ["a"], ["read"])
    expired = replace(key, expires_at=datetime.now(UTC))
    assert api_keys.KeyCache(lambda: [expired]).find(secret) is None
    later = replace(key, expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert api_keys.KeyCache(lambda: [later]).find(secret) == later
