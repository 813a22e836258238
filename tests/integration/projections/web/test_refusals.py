"""What the API says when ClickHouse refuses: what is wrong, not a guess."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from deploy.local import accounts
from deploy.local.addresses import free_port
from projections.clickhouse.client import connect
from projections.web.app import build_api
from tests.api import empty_api, token_of
from tests.clickhouse import Database

LOG = "/api/v1/logs/email"
USERS = {
    "no_rights": {"grants": ["GRANT SELECT ON refusals.api_keys"]},
    "bounded": {"bounds": [("max_execution_time", "max", "1")]},
    "reads": {"settings": {"readonly": "1"}},
    "no_insert": {"grants": ["GRANT SELECT ON refusals.*"]},
}
NO_RIGHT = "its user of the settings may not do this"
REASONS = {"reads": "its client cannot use this server or user; the text is in the log of the API"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    users = [
        replace(accounts.api("pw", "refusals"), name=name, **change)
        for name, change in USERS.items()
    ]
    users.append(accounts.api("pw", "refusals"))
    url = f"http://127.0.0.1:{free_port()}"
    with Database(url, tmp_path_factory.mktemp("refusals"), accounts=users) as server:
        yield server


def detail(api):
    with api.client("a") as client:
        answer = client.get(LOG)
    assert answer.status_code == 503
    return answer.json()["detail"]


@pytest.mark.parametrize(("name", "status"), [(accounts.API, 303), ("no_insert", 503)])
def test_a_view_is_saved_by_who_has_the_right(server, name, status):
    api = empty_api(server.url, "refusals", outcome_seconds=0)
    api.add_key("a", ["a"])
    api.app = build_api(
        connect=partial(connect, server.url, user=name, password="pw", database="refusals"),
        database="refusals", publish_command=print, kafka_answers=bool,
    )  # fmt: skip
    with api.client(None) as client:
        api.sign_in(client, "a")
        form = {"token": token_of(client.get("/logs/email").text), "name": "x"}
        reply = client.post("/logs/email/views?q=x", data=form, follow_redirects=False)
        assert reply.status_code == status
        assert ("did not take the view" in reply.text) is (status == 503)
        assert client.get("/logs/email").status_code == 200


@pytest.mark.parametrize("name", ["no_rights", "bounded", "reads"])
def test_a_user_without_a_right_is_named_as_the_cause(server, name):
    api = empty_api(server.url, "refusals", outcome_seconds=0)
    api.add_key("a", ["a"])
    api.app = build_api(
        connect=partial(connect, server.url, user=name, password="pw", database="refusals"),
        database="refusals", publish_command=print, kafka_answers=bool,
    )  # fmt: skip
    assert detail(api) == f"ClickHouse refuses: {REASONS.get(name, NO_RIGHT)}"


def test_a_database_without_tables_is_to_be_migrated(server):
    api = empty_api(server.url, "unmigrated", outcome_seconds=0)
    api.add_key("a", ["a"])
    api.connect().command("DROP TABLE unmigrated.email_log_state")
    assert "is the database migrated" in detail(api)
