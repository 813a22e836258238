"""Bodies have a budget: one client's many or slow ones leave room for those of others."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from starlette.requests import Request

from processor.gateway import bodies
from processor.gateway.answers import RefusedError
from processor.gateway.bodies import BodyBudget, read_body


def request(*chunks, headers=(), ends=True):
    """Return a request whose body comes in chunks, or never ends."""
    unread = list(chunks)

    async def receive():
        if not unread:
            await asyncio.Event().wait()
        return {
            "type": "http.request",
            "body": unread.pop(0),
            "more_body": bool(unread) or not ends,
        }

    return Request({"type": "http", "headers": list(headers), "query_string": b""}, receive)


def read(held, *chunks, **options):
    return asyncio.run(read_body(request(*chunks, **options), 1_000, held))


def test_one_address_has_a_quarter_and_all_have_the_budget():
    budget = BodyBudget(400)
    with budget.hold("a") as first, budget.hold("a") as second:
        assert len(read(first, b"x" * 60, b"x" * 30)) == 90
        with pytest.raises(RefusedError, match="under way") as refused:
            read(second, b"x" * 20)
        assert refused.value.status == 503
        assert refused.value.headers["Retry-After"]
        with budget.hold("b") as other, budget.hold("c") as third, budget.hold("d") as fourth:
            for held in (other, third, fourth):
                assert read(held, b"x" * 100)
            with budget.hold("e") as late, pytest.raises(RefusedError, match="under way"):
                read(late, b"x" * 20)
    with budget.hold("a") as again:  # what is done with takes no room
        assert read(again, b"x" * 100)


def test_what_is_unpacked_takes_room_too():
    packed = gzip.compress(b"x" * 900)
    headers = [(b"content-encoding", b"gzip")]
    with BodyBudget(2_000).hold("a") as held, pytest.raises(RefusedError, match="under way"):
        read(held, packed, headers=headers)
    with BodyBudget(8_000).hold("a") as held:
        assert read(held, packed, headers=headers) == b"x" * 900


def test_a_body_that_pauses_for_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(bodies, "PAUSE_TIMEOUT_SECONDS", 0.01)
    with BodyBudget().hold("a") as held, pytest.raises(RefusedError, match="silent") as refused:
        read(held, b"x", ends=False)
    assert refused.value.status == 408
