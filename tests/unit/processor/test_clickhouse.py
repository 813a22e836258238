"""A password that goes to another machine in clear is warned of, once."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from processor import clickhouse
from processor.clickhouse import client_of
from processor.connection_settings import ClickHouseSettings
from processor.settings import Settings


@pytest.mark.parametrize(
    ("url", "password", "hosts"),
    [
        ("http://db.example.com:8443", "s3cret", ["db.example.com"]),
        ("http://db.example.com", "", []),
        ("https://db.example.com:8123", "s3cret", []),
        ("http://127.0.0.1:8123", "s3cret", []),
    ],
)
def test_a_password_in_clear_is_warned_of_once(monkeypatch, url, password, hosts):
    connected = []
    monkeypatch.setattr(clickhouse, "connect", lambda *places, **_: connected.append(places))
    clickhouse._warn_of_clear_password.cache_clear()
    settings = Settings(clickhouse=ClickHouseSettings(url=url, password=password))
    with capture_logs() as lines:
        client_of(settings)
        client_of(settings)
    assert connected == [(url,), (url,)]
    assert [line["host"] for line in lines] == hosts
    assert {line["event"] for line in lines} <= {"clickhouse_password_in_clear"}
    assert "s3cret" not in str(lines)
