"""How every client of Kafka connects, by the settings; and why a broker does not take it.

No client is made with anything else: `async_options` and `sync_options` have the brokers, the
encryption and the login for aiokafka and kafka-python; `processor/faust_app.py` makes Faust's of
them. The host name of a broker is always verified.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.conn import create_conn
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from processor.connection_settings import tls_files
from processor.kafka.tokens import AsyncTokens, SyncTokens, TokenError, tokens_of
from processor.logging import get
from processor.settings import KafkaSettings
from projections.tls import NOT_TLS, client_context, tls_problem
from schemas.errors import ExplainedError

log = get(__name__)

_Client = TypeVar("_Client", AIOKafkaConsumer, AIOKafkaProducer)

CONNECT_TIMEOUT_SECONDS: Final = 5
_GROUP: Final = "SENDLOG_KAFKA"
_ADDRESS: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+)(:(?P<port>\d{1,5}))?")
#: Of Kafka, and of its clients.
_DEFAULT_PORT: Final = 9092


class BrokerError(ExplainedError):
    """The broker is away or refuses; the text says what to do."""


class RefusedConnectionError(BrokerError):
    """A broker answers, but we do not trust it or it does not let us in: waiting is no use."""


def async_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return what a client of aiokafka takes. Raises `TlsFileError`."""
    return {"bootstrap_servers": kafka.bootstrap.split(","), **async_security(kafka)}


def sync_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return what a client of kafka-python takes.

    Unless the connection is plain it is tried before, for such a client keeps why it is refused to
    itself. Raises `RefusedConnectionError`, `TlsFileError`.
    """
    if kafka.protocol != "PLAINTEXT":
        refuse_early(kafka)
    return {"bootstrap_servers": kafka.bootstrap.split(","), **_security(kafka, SyncTokens)}


def async_security(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the encryption and the login for aiokafka. Raises `TlsFileError`."""
    return _security(kafka, AsyncTokens)


def _security(kafka: KafkaSettings, provider: type[AsyncTokens | SyncTokens]) -> dict[str, Any]:
    options: dict[str, Any] = {"security_protocol": kafka.protocol}
    if kafka.is_encrypted:
        options["ssl_context"] = client_context(tls_files(kafka, _GROUP))
    if kafka.logs_in:
        options |= _login(kafka, provider)
    return options


def _login(kafka: KafkaSettings, provider: type[AsyncTokens | SyncTokens]) -> dict[str, Any]:
    if not kafka.is_encrypted and not kafka.mechanism.startswith("SCRAM"):
        _warn_of_clear_login(kafka.bootstrap)
    if kafka.mechanism == "OAUTHBEARER":
        tokens = provider(tokens_of(kafka))
        return {"sasl_mechanism": kafka.mechanism, "sasl_oauth_token_provider": tokens}
    return {
        "sasl_mechanism": kafka.mechanism,
        "sasl_plain_username": kafka.user,
        "sasl_plain_password": kafka.password.get_secret_value(),
    }


@cache
def _warn_of_clear_login(bootstrap: str) -> None:
    log.warning("kafka_login_in_clear", bootstrap=bootstrap, instead="SASL_SSL")


def refuse_early(kafka: KafkaSettings) -> None:
    """Raise `RefusedConnectionError` if a broker answers that will never do; else return.

    A broker that is away may come back: what connects next waits for it, or says so.
    """
    try:
        asyncio.run(check_connection(kafka))
    except RefusedConnectionError:
        raise
    except BrokerError:
        return


def unreachable_error(kafka: KafkaSettings, error: Exception) -> BrokerError:
    """Return the error for a client that got no answer, with what a try of our own met."""
    try:
        asyncio.run(check_connection(kafka))
    except BrokerError as problem:
        return problem
    return _unreachable(kafka, str(error))


async def started(client: _Client) -> _Client:
    """Start a client and return it; one that cannot start is stopped. Raises `KafkaError`."""
    try:
        await client.start()
    except BaseException:  # also where nobody waits for it any more
        await client.stop()
        raise
    return client


async def check_connection(kafka: KafkaSettings) -> None:
    """Connect to a broker and log in, once.

    Raises `RefusedConnectionError`, `BrokerError` if none answers, `TlsFileError`.
    """
    refusals: list[str] = []
    absences: list[str] = []
    options = async_security(kafka)
    for host, port in broker_addresses(kafka):
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await _connect(host, port, options)
        except (KafkaError, OSError, TimeoutError, TokenError) as error:
            where = f"Kafka at {host}:{port}"
            if problem := _refusal(error, kafka):
                refusals.append(f"{where}: {problem}")
            else:
                absences.append(f"{where}: {_absence(error, kafka)}")
        else:
            return
    if refusals:
        raise RefusedConnectionError("; ".join(refusals))
    raise _unreachable(kafka, "; ".join(absences))


async def _connect(host: str, port: int, options: dict[str, Any]) -> None:
    connection = await create_conn(host, port, **options)
    try:
        metadata = await connection.send(MetadataRequest([]))
    finally:
        connection.close()
    # aiokafka takes the refusal of a token for a login, and this for what it asked.
    if not metadata.brokers and "sasl_oauth_token_provider" in options:
        raise SaslAuthenticationFailed


def broker_addresses(kafka: KafkaSettings) -> Iterator[tuple[str, int]]:
    """Yield host and port of each broker that the settings name.

    Raises `RefusedConnectionError` for what is no address.
    """
    for address in map(str.strip, kafka.bootstrap.split(",")):
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise RefusedConnectionError(f"SENDLOG_KAFKA__BOOTSTRAP: {address!r} is no host:port")
        yield match["host"].strip("[]"), int(match["port"] or _DEFAULT_PORT)


def _unreachable(kafka: KafkaSettings, reason: str) -> BrokerError:
    return BrokerError(
        f"no Kafka broker answers at {kafka.bootstrap} ({reason}); "
        "start one (sendlog up) or set SENDLOG_KAFKA__BOOTSTRAP"
    )


def _refusal(error: BaseException, kafka: KafkaSettings) -> str:
    """Return what time will not mend; else an empty text."""
    match error:
        case TokenError():
            return str(error)
        case SaslAuthenticationFailed() if kafka.mechanism == "OAUTHBEARER":
            return "it refuses the token"
        case SaslAuthenticationFailed():
            return (
                f"it refuses the login of {kafka.user} by {kafka.mechanism}:"
                " SENDLOG_KAFKA__USER or __PASSWORD is wrong"
            )
        case UnsupportedSaslMechanismError():
            return f"it does not offer SENDLOG_KAFKA__MECHANISM={kafka.mechanism}"
        case _:
            return tls_problem(error, _GROUP)


def _absence(error: BaseException, kafka: KafkaSettings) -> str:
    if not isinstance(error, (KafkaConnectionError, ConnectionResetError, EOFError, ssl.SSLError)):
        return str(error) or type(error).__name__
    if kafka.is_encrypted:
        return f"it closes the connection: {NOT_TLS}"
    return (
        "it closes the connection: does it want more than"
        f" SENDLOG_KAFKA__PROTOCOL={kafka.protocol}?"
    )
