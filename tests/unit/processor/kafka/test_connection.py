"""There is one place that says how a client of Kafka connects, and every client is made by it."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import deploy.local
import processor
import projections
import schemas
from processor.kafka import health
from processor.kafka.connection import (
    RefusedConnectionError,
    async_options,
    broker_addresses,
    sync_options,
)
from processor.settings import KafkaSettings
from projections.tls import TlsFileError

CLIENTS = {
    "AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient", "KafkaConsumer",
    "KafkaProducer", "KafkaAdminClient", "create_conn",
}  # fmt: skip
OPTIONS = {"async_options", "sync_options", "async_security"}
#: The local stack's own node, which is plain: it is asked whether it is there.
PLAIN = {"deploy/local/broker.py"}


def name_of(function):
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def clients_made():
    """Yield where a client is made, and the functions that give its options."""
    for package in (processor, projections, schemas, deploy.local):
        root = Path(package.__file__).parent
        for path in root.rglob("*.py"):
            tree = ast.parse(path.read_text("utf-8"))
            names = {
                node.targets[0].id: name_of(node.value.func)
                for node in ast.walk(tree)
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
                and isinstance(node.targets[0], ast.Name)
            }  # fmt: skip
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and name_of(node.func) in CLIENTS:
                    spread = [each.value for each in node.keywords if each.arg is None]
                    made_by = {
                        name_of(each.func) if isinstance(each, ast.Call) else names.get(each.id)
                        for each in spread
                    }
                    yield path, node.lineno, made_by, {each.arg for each in node.keywords}


def test_every_client_connects_by_the_settings():
    places = [
        (str(path), line, made_by, named)
        for path, line, made_by, named in clients_made()
        if not any(str(path).endswith(plain) for plain in PLAIN)
    ]
    assert len(places) >= 9
    for path, line, made_by, named in places:
        assert made_by & OPTIONS, f"{path}:{line} does not connect by the settings"
        assert "bootstrap_servers" not in named, f"{path}:{line}"


def test_while_a_broker_is_away_it_is_logged_once_and_once_more_if_it_refuses_us(monkeypatch):
    problems = iter([health.AWAY, health.AWAY, "the login is wrong", "the login is wrong", ""])

    async def next_problem(_kafka):
        try:
            return next(problems)
        except StopIteration:
            raise asyncio.CancelledError from None

    monkeypatch.setattr(health, "broker_problem", next_problem)
    with capture_logs() as lines, pytest.raises(asyncio.CancelledError):
        asyncio.run(health.watch_broker(KafkaSettings(), interval=0))
    assert [(line["event"], line.get("error")) for line in lines] == [
        ("kafka_away", "the broker is away"), ("kafka_away", "the login is wrong"),
        ("kafka_back", None),
    ]  # fmt: skip


@pytest.mark.parametrize("options", [async_options, sync_options])
def test_a_file_of_certificates_that_is_none_is_named(tmp_path, options):
    missing, wrong = tmp_path / "none.pem", tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    for file, words in ((missing, "cannot be read: No such file"), (wrong, "has no certificates")):
        settings = KafkaSettings(protocol="SSL", ca_file=file)
        with pytest.raises(TlsFileError, match=f"SENDLOG_KAFKA__CA_FILE: .*{words}"):
            options(settings)
    pair = {"certificate_file": wrong, "key_file": wrong}
    with pytest.raises(TlsFileError, match=r"SENDLOG_KAFKA__CERTIFICATE_FILE, .*no pair"):
        options(KafkaSettings(protocol="SSL", **pair))


def test_brokers_are_read_with_and_without_ports():
    several = KafkaSettings(bootstrap="a.example.com:9093, b.example.com,[::1]:9094")
    assert list(broker_addresses(several)) == [
        ("a.example.com", 9093), ("b.example.com", 9092), ("::1", 9094),
    ]  # fmt: skip
    with pytest.raises(RefusedConnectionError, match="BOOTSTRAP: 'a:b' is no host:port"):
        list(broker_addresses(KafkaSettings(bootstrap="a:b")))
    assert "is no host:port" in asyncio.run(health.broker_problem(KafkaSettings(bootstrap="a:b")))
