"""The application while its database is away: keys and rates, refusals, headers of every answer."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
from starlette.testclient import TestClient

from projections.clickhouse.client import FatalError, TransientError
from projections.queries.api_keys import KeyCache, new_key
from projections.web.app import build_api
from projections.web.database import ReadOnlyDatabase
from projections.web.problems import ProblemError

LOG = "/api/v1/logs/email"
KEY, SECRET = new_key("ours", ["acme"], ["read"])
OTHER_KEY, OTHER_SECRET = new_key("theirs", ["rival"], ["read"])


def raises(error, *_):
    raise error


@contextmanager
def client_of(load_keys=lambda: [KEY, OTHER_KEY], **options):
    """Give a client of an application whose keys are read by a function."""
    app = build_api(
        connect=partial(raises, TransientError("away")), database="none", kafka_answers=bool,
        publish_command=print, **options,
    )  # fmt: skip
    app.state.app_state = replace(app.state.app_state, keys=KeyCache(load_keys))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def get(client, path=LOG, secret=SECRET):
    """Get a path with a secret, "" for none; what is refused is a problem."""
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    reply = client.get(path, headers=headers)
    assert reply.headers["content-type"] == "application/problem+json"
    return reply


def test_a_form_of_too_many_fields_is_refused():
    with client_of() as client:
        fields = "&".join(f"a{number}=1" for number in range(51))
        assert client.post("/sign-in", content=fields).status_code == 422


def test_without_a_valid_key_a_request_does_not_come_to_the_database():
    with client_of() as client:
        for secret, challenge in (
            ("", 'Bearer realm="sendlog"'),
            ("sk_wrong", 'Bearer realm="sendlog", error="invalid_token"'),
        ):
            reply = get(client, secret=secret)
            assert reply.status_code == 401
            assert reply.headers["www-authenticate"] == challenge
        for _ in range(2):  # the second time the key is known
            reply = get(client)
            assert (reply.status_code, reply.json()["detail"]) == (503, "ClickHouse is away")
        assert get(client, f"{LOG}?tenant=rival").status_code == 403
        assert get(client, secret=OTHER_SECRET).status_code == 503


def test_each_key_has_a_rate_of_its_own():
    with client_of(rate=0.01, burst=2) as client:
        assert [get(client).status_code for _ in range(3)] == [503, 503, 429]
        assert get(client).headers["retry-after"].isdecimal()
        assert get(client, secret=OTHER_SECRET).status_code == 503


def test_a_parameter_that_there_is_not_is_refused_by_its_name():
    with client_of() as client:
        reply = get(client, f"{LOG}?statsu=Bounce")
        assert reply.status_code == 422
        assert [error["parameter"] for error in reply.json()["errors"]] == ["statsu"]
        assert "status" in reply.json()["detail"]


@pytest.mark.parametrize("path", [LOG, "/api/v1/nothing", "/healthz", "/nothing"])
def test_every_answer_has_the_headers_that_keep_it_safe(path):
    with client_of() as client:
        headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"


def test_an_unexpected_error_is_a_problem_that_shows_nothing_of_it():
    with client_of(partial(raises, RuntimeError("a secret"))) as client:
        reply = get(client)
    assert (reply.status_code, reply.json()["title"]) == (500, "Internal Server Error")
    assert "a secret" not in reply.text
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("is_https", [True, False])
def test_whether_the_cookie_is_for_https_alone_is_a_setting_and_no_guess(is_https):
    with client_of(is_https=is_https) as client:
        reply = client.get("/sign-in", headers={"X-Forwarded-Proto": "https"})
    assert ("Secure" in reply.headers["set-cookie"]) == is_https


def test_after_a_refused_password_the_next_client_has_the_one_of_now():
    passwords = iter(["old", "new"])
    connected = []

    class Client:
        def __init__(self):
            self.password = next(passwords)
            connected.append(self.password)

        def set_client_setting(self, *_):
            pass

    database = ReadOnlyDatabase(Client, "none")
    for code in (60, 516):
        with pytest.raises(ProblemError), database.client() as client:
            raise FatalError("refused", code)
        assert client.password == "old"
    with database.client() as client:
        assert client.password == "new"
    assert connected == ["old", "new"]
