"""The composition root of the API: settings in, a server that runs until a signal."""

from __future__ import annotations

import asyncio
from functools import partial
from threading import Lock
from typing import Final

from kafka import KafkaProducer
from kafka.errors import KafkaError

from processor import metrics, suppression_commands
from processor.clickhouse import client_of
from processor.http.server import serve_http
from processor.kafka import health, topics
from processor.kafka.connection import BrokerError, refuse_early, sync_options
from processor.logging import get
from processor.provider_lists.removal import ProviderLists, read_accounts
from processor.settings import ENVIRONMENT_PREFIX, KafkaSettings, Settings, SettingsError
from projections.tls import TlsFiles
from projections.web.app import build_api
from projections.web.open_id import OpenIdClient, OpenIdProvider, OpenIdSignIn
from projections.web.people import GroupRole, PeopleRules
from projections.web.state import CommandNotPublishedError
from schemas.decisions import Command

log = get(__name__)

#: For Kafka to confirm a command: somebody waits for the answer.
CONFIRM_TIMEOUT_MS: Final = 8_000


class CommandProducer:
    """The API's producer: publishes commands, each confirmed; connects before the first."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._producer: KafkaProducer | None = None
        self._lock = Lock()

    def publish(self, command: Command) -> None:
        """Publish a command and wait until Kafka has it. Raises `CommandNotPublishedError`."""
        if problem := asyncio.run(health.broker_problem(self._kafka)):
            log.warning("command_not_taken", id=command.id, error=problem)
            raise CommandNotPublishedError(f"no broker answers at {self._kafka.bootstrap}")
        record = suppression_commands.command_record(self._kafka, command)
        try:
            future = self._connect().send(
                topics.COMMANDS_TOPIC, record.value, record.key, headers=list(record.headers)
            )
            future.get(timeout=CONFIRM_TIMEOUT_MS / 1000)
        except (KafkaError, BrokerError) as error:
            log.warning("command_not_taken", id=command.id, error=str(error))
            raise CommandNotPublishedError(str(error)) from error

    def answers(self) -> bool:
        """Tell whether a broker takes a connection."""
        return not asyncio.run(health.broker_problem(self._kafka))

    def _connect(self) -> KafkaProducer:
        with self._lock:
            if self._producer is None:
                self._producer = KafkaProducer(
                    **sync_options(self._kafka),
                    acks="all",
                    max_block_ms=CONFIRM_TIMEOUT_MS,
                    request_timeout_ms=CONFIRM_TIMEOUT_MS // 2,
                    delivery_timeout_ms=CONFIRM_TIMEOUT_MS,
                )
            return self._producer

    def close(self) -> None:
        """Disconnect from the broker."""
        if self._producer is not None:
            self._producer.close(timeout=5)


def open_id_sign_in(settings: Settings) -> OpenIdSignIn | None:
    """Return how people sign in at a provider, None if they do not. It is not asked yet.

    Raises `SettingsError` without a public address, and `TlsFileError`.
    """
    oidc, public_url = settings.oidc, settings.api.public_url.rstrip("/")
    if not oidc.issuer:
        return None
    if not public_url:
        variable = f"{ENVIRONMENT_PREFIX}OIDC__ISSUER"
        raise SettingsError(
            f"{variable} takes {ENVIRONMENT_PREFIX}API__PUBLIC_URL: the provider leads back there"
        )
    client = OpenIdClient(
        issuer=oidc.issuer, client_id=oidc.client_id,
        client_secret=oidc.client_secret.get_secret_value, scopes=oidc.scopes,
        public_url=public_url,
        tls=TlsFiles(group=f"{ENVIRONMENT_PREFIX}OIDC", ca=oidc.ca_file),
    )  # fmt: skip
    people = PeopleRules(
        group_roles={
            group: [GroupRole(each.tenant, each.role) for each in roles]
            for group, roles in oidc.groups.items()
        },
        name_claim=oidc.name_claim,
        groups_claim=oidc.groups_claim,
        email_domains=oidc.domains,
    )
    return OpenIdSignIn(
        provider=OpenIdProvider(client), people=people, button=oidc.button,
        session_seconds=oidc.session_minutes * 60,
    )  # fmt: skip


def _count_audit_lines(written: int, lost: int, waiting: int) -> None:
    metrics.AUDIT_LINES_TOTAL.labels(outcome="written").inc(written)
    metrics.AUDIT_LINES_TOTAL.labels(outcome="lost").inc(lost)
    metrics.AUDIT_LINES_WAITING.set(waiting)


def run_api(settings: Settings) -> None:
    """Serve until TERM or Ctrl-C.

    Raises `SettingsError` if it cannot listen, `RefusedConnectionError` or `TlsFileError` if Kafka
    will never do, or a CA file; while Kafka is away the pages can be read, and while an OpenID
    provider is, people sign in with keys.
    """
    refuse_early(settings.kafka)
    api, producer = settings.api, CommandProducer(settings.kafka)
    provider_lists = ProviderLists(read_accounts(api.provider_accounts))
    app = build_api(
        connect=partial(client_of, settings),
        database=settings.clickhouse.database,
        regions=settings.numbers.by_tenant,
        publish_command=producer.publish,
        kafka_answers=producer.answers,
        rate=api.rate,
        burst=api.burst,
        query_seconds=api.query_seconds,
        outcome_seconds=api.outcome_seconds,
        session_secret=api.session_secret.get_secret_value().encode(),
        is_https=api.is_https,
        embed_secret=api.embed_secret.get_secret_value().encode(),
        public_url=api.public_url,
        time_zone=api.time_zone,
        provider_lists=provider_lists,
        open_id=open_id_sign_in(settings),
        report_audit=_count_audit_lines,
    )
    if not api.session_secret.get_secret_value():
        log.info("session_secret_made_up", setting="SENDLOG_API__SESSION_SECRET")
    if not api.embed_secret.get_secret_value():
        log.info("embed_secret_made_up", setting="SENDLOG_API__EMBED_SECRET")
    try:
        serve_http(
            app, api, "api", settings=settings,
            on_start=lambda address: log.info("api_starting", address=address),
        )  # fmt: skip
    finally:
        producer.close()
    log.info("api_stopped")
