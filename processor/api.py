"""The composition root of the API: settings in, a server that listens until told to stop."""

from __future__ import annotations

import asyncio
from functools import partial
from threading import Lock
from typing import Final

from kafka import KafkaProducer
from kafka.errors import KafkaError

from processor import suppression_commands
from processor.clickhouse import client_of
from processor.http_server import serve
from processor.kafka import health, topics
from processor.logging import get
from processor.settings import Kafka, Settings
from projections.web.app import build
from projections.web.state import NotTakenError
from schemas.decisions import Command

log = get(__name__)
#: Milliseconds for Kafka to confirm a command: who asks for one waits.
_CONFIRMED: Final = 8_000


class Commands:
    """Publishes commands, one confirmed after the other; connected when first asked."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._producer: KafkaProducer | None = None
        self._lock = Lock()

    def publish(self, command: Command) -> None:
        """Return when Kafka has the command. Raises `NotTakenError` if it does not confirm it."""
        if not self.answers():
            raise NotTakenError(f"no broker answers at {self._kafka.bootstrap}")
        key, value = suppression_commands.to_record(command)
        try:
            sent = self._connected().send(topics.COMMANDS, value=value, key=key)
            sent.get(timeout=_CONFIRMED / 1000)
        except KafkaError as error:
            log.warning("command_not_taken", id=command.id, error=str(error))
            raise NotTakenError(str(error)) from error

    def answers(self) -> bool:
        """Tell whether a broker takes a connection."""
        return asyncio.run(health.answers(self._kafka.bootstrap))

    def _connected(self) -> KafkaProducer:
        with self._lock:
            if self._producer is None:
                self._producer = KafkaProducer(
                    bootstrap_servers=self._kafka.bootstrap.split(","),
                    acks="all",
                    max_block_ms=_CONFIRMED,
                    request_timeout_ms=_CONFIRMED // 2,
                    delivery_timeout_ms=_CONFIRMED,
                )
            return self._producer

    def close(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            self._producer.close(timeout=5)


def run_api(settings: Settings) -> None:
    """Serve until TERM or Ctrl-C. Raises `SettingsError` if it cannot listen."""
    api, sender = settings.api, Commands(settings.kafka)
    app = build(
        connect=partial(client_of, settings),
        database=settings.clickhouse.database,
        command=sender.publish,
        kafka_answers=sender.answers,
        rate=api.rate,
        burst=api.burst,
        query_seconds=api.query_seconds,
        outcome_seconds=api.outcome_seconds,
        session_secret=api.session_secret.get_secret_value().encode(),
    )
    if not api.session_secret.get_secret_value():
        log.info("session_secret_made_up", setting="SENDLOG_API__SESSION_SECRET")
    try:
        serve(
            app, host=api.host, port=api.port, group="API", metrics_port=settings.metrics_port,
            greet=lambda: log.info("api_starting", address=f"http://{api.host}:{api.port}"),
        )  # fmt: skip
    finally:
        sender.close()
    log.info("api_stopped")
