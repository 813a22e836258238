"""The walls between tenants: which tenants a topic may write of, and which commands are obeyed."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, Self

from pydantic import SecretStr

from processor import metrics
from processor.kafka.records import Record, plausible_ms, recorded_ms, text_headers
from processor.kafka.topics import mailer_of
from processor.settings import KafkaSettings
from schemas.command_signatures import (
    SIGNATURE_HEADER,
    CommandSignatureError,
    check_signature,
    secrets_of,
)

#: Kafka's type of a record's time that is the broker's own.
_LOG_APPEND_TIME: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """The tenants of each mailer, whether the shared topics are open, and the secret of commands.

    As by default there are none, as for what was let in before: all topics are for all tenants, and
    commands need no signature.
    """

    mailers: Mapping[str, AbstractSet[str]] | None = None
    shared_sends: bool = True
    command_secret: SecretStr = field(default_factory=lambda: SecretStr(""))

    @classmethod
    def of(cls, kafka: KafkaSettings) -> Self:
        """Return the walls of settings."""
        return cls(
            mailers={name: frozenset(tenants) for name, tenants in kafka.mailers.items()},
            shared_sends=kafka.shared_sends,
            command_secret=kafka.command_secret,
        )

    def tenants_of(self, topic: str) -> AbstractSet[str] | None:
        """Return the tenants that a topic of sends may write of; None: all."""
        if mailer := mailer_of(topic):
            return None if self.mailers is None else self.mailers.get(mailer, frozenset())
        return None if self.shared_sends else frozenset()

    def refusal(self, topic: str, tenant: str) -> str:
        """Return why a record of a tenant is refused on a topic."""
        if mailer := mailer_of(topic):
            return f"mailer {mailer!r} may not write of tenant {tenant!r} (SENDLOG_KAFKA__MAILERS)"
        return f"{topic} is closed (SENDLOG_KAFKA__SHARED_SENDS): mailers have topics of their own"

    def commanded_ms(self, record: Record) -> int:
        """Return when a command was given, in milliseconds since 1970.

        Raises `CommandSignatureError` if it is not signed as it has to be. A signed command was
        given when the broker took it, whatever its headers say.
        """
        secrets = secrets_of(self.command_secret.get_secret_value())
        if not secrets:
            return recorded_ms(record)
        try:
            _check_signature(secrets, record)
        except CommandSignatureError as error:
            metrics.COMMANDS_REFUSED_TOTAL.labels(reason=error.reason).inc()
            raise
        return plausible_ms(record.timestamp)


def _check_signature(secrets: list[bytes], record: Record) -> None:
    """Raise `CommandSignatureError` unless it was signed a moment before the broker had it."""
    if record.timestamp_type != _LOG_APPEND_TIME:
        raise CommandSignatureError(
            "senders_time",
            "the topic has its senders' times, by which an old command may pass for a new one:"
            " sendlog topics check says how to mend it",
        )
    header = text_headers(record).get(SIGNATURE_HEADER, "")
    key, value = record.key or b"", record.value or b""
    check_signature(secrets, header, key, value, record.timestamp or 0)
