"""One key's work leaves room for that of others, and ends when nobody waits for it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest
from clickhouse_connect.driver.exceptions import OperationalError
from starlette.testclient import TestClient

from projections.web import database
from projections.web.app import build_api
from projections.web.auth import ReadCaller
from projections.web.database import QUERY_LIMITS
from projections.web.key_slots import MAX_KEY_REQUESTS, KeySlots
from projections.web.params import ApiRoute
from projections.web.problems import ProblemError
from projections.web.readiness import Readiness
from projections.web.request_work import CURRENT_WORK, RequestWork
from tests.api import empty_api
from tests.served import read_all, served
from tests.system import wait_for

SLOW = "SELECT sleepEachRow(0.5) FROM numbers(1000) SETTINGS max_block_size = 1"


@pytest.fixture(scope="module")
def api(engine):
    """An API with a slow endpoint, and keys that nobody else has."""
    api = empty_api(engine.url, "shares", query_seconds=60)

    def ask(caller: ReadCaller, sql: str) -> list[list[object]]:
        with caller.state.database.client() as client:
            return [list(row) for row in client.query(sql).result_rows]

    api.app.router.routes.insert(0, ApiRoute("/api/v1/ask", ask))
    for name in ("busy", "other"):
        api.add_key(name, [name])
    return api


def request(api, key, sql):
    path = f"/api/v1/ask?sql={sql.replace(' ', '%20')}"
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    return f"{head}Authorization: Bearer {api.keys[key]}\r\n\r\n".encode()


def slow_queries(api):
    sql = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleepEachRow(0.5)%'"
    return api.connect().query(sql).result_rows[0][0]


def test_a_key_has_its_share_and_what_nobody_waits_for_ends(api, monkeypatch):
    slots = api.app.state.app_state.key_slots
    monkeypatch.setattr(slots, "_wait_seconds", 0.2)
    with served(api.app) as open_socket, ExitStack() as clients:
        for _ in range(MAX_KEY_REQUESTS):
            clients.enter_context(open_socket(request(api, "busy", SLOW)))
        wait_for(lambda: slow_queries(api) == MAX_KEY_REQUESTS, "the queries to run", 20)
        answer = read_all(open_socket(request(api, "busy", "SELECT 1")))
        assert answer.startswith(b"HTTP/1.1 429")
        assert b"under way already" in answer
        assert b"retry-after: 1" in answer.lower()
        other = read_all(open_socket(request(api, "other", "SELECT 1")))
        assert other.startswith(b"HTTP/1.1 200")
        clients.close()
        wait_for(lambda: not slow_queries(api), "the queries to end", 20)
        again = read_all(open_socket(request(api, "busy", "SELECT 1")))
        assert again.startswith(b"HTTP/1.1 200")


def test_two_searches_of_a_key_leave_room_for_its_pages_and_others_searches(api, monkeypatch):
    monkeypatch.setattr(database, "COSTLY_WAIT_SECONDS", 0.05)
    reader = api.app.state.app_state.database
    with ExitStack() as searches:
        for _ in range(database.MAX_KEY_COSTLY_QUERIES):
            client = searches.enter_context(reader.client(is_costly=True))
        sql = "SELECT getSetting('priority'), getSetting('max_threads')"
        assert client.query(sql).result_rows == [(5, 2)]
        with pytest.raises(ProblemError, match="under way"), reader.client(is_costly=True):
            pass
        with reader.client() as client:
            assert client.query(sql).result_rows == [(1, 4)]
        token = CURRENT_WORK.set(RequestWork(key="other"))
        with reader.client(is_costly=True) as client:
            assert client.query("SELECT 1").result_rows == [(1,)]
        CURRENT_WORK.reset(token)
    with reader.client(is_costly=True) as client:
        assert client.query("SELECT 1").result_rows == [(1,)]


def test_the_server_bounds_each_query(api):
    with api.client("busy") as client:
        names = list(QUERY_LIMITS)
        settings = ", ".join(f"toString(getSetting('{name}'))" for name in names)
        reply = client.get("/api/v1/ask", params={"sql": f"SELECT {settings}"})
        assert reply.json() == [[str(QUERY_LIMITS[name]) for name in names]]
        wide = "SELECT groupArray(number) FROM numbers(1000000000)"
        reply = client.get(
            "/api/v1/ask", params={"sql": f"{wide} SETTINGS max_memory_usage = 1000000"}
        )
        assert (reply.status_code, "memory" in reply.json()["detail"]) == (503, True)


def test_a_valid_key_is_not_called_revoked_while_the_database_is_away():
    def refuse():
        raise OperationalError("away")

    app = build_api(
        connect=refuse, database="d", publish_command=refuse, kafka_answers=lambda: True
    )
    with TestClient(app, headers={"Authorization": "Bearer sk_x"}) as client:
        reply = client.get("/api/v1/logs/email")
        assert reply.status_code == 503
        assert reply.headers["Retry-After"]


def test_readiness_is_asked_once_a_second_however_many_ask():
    asked, now = [], [0.0]
    readiness = Readiness(
        lambda: asked.append("database") or "away", lambda: True, clock=lambda: now[0]
    )

    async def ask_often():
        return set(await asyncio.gather(*(readiness.away() for _ in range(50))))

    assert asyncio.run(ask_often()) == {("away", "")}
    assert asked == ["database"]
    now[0] = 1.1
    assert asyncio.run(ask_often()) == {("away", "")}
    assert asked == ["database"] * 2


def test_a_place_outside_a_request_is_nobodys():
    asyncio.run(KeySlots(1, 0.1).enter("key"))
