"""Takes bounces and complaints by LMTP or SMTP: a mail is confirmed only when Kafka has it.

Off unless a port is set. It is meant for a mail server of the same network, which takes mail from
outside and hands on what is for the addresses of the hooks; it is no mail exchanger of its own. The
steps for a mail:

1. find its hook by the address it is for, else 550; a second address of one mail gets 452, for
   which every client comes again, so that there is one answer for one record;
2. read it, up to the limit of a record, else 552;
3. publish it, unchanged, with its envelope in headers, and wait for the broker, else 451.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from processor import metrics
from processor.gateway.hooks import Hook
from processor.gateway.producer import NotPublishedError, WebhookProducer
from processor.logging import get
from processor.settings import GatewaySettings
from schemas.providers import DEFAULT_TENANT_HEADER, TENANT_HEADER, reports

log = get(__name__)

#: Connections at the same time; more are answered with 421.
MAX_CONNECTIONS: Final = 100
#: From a command to the next, and for all of a mail's text.
IDLE_TIMEOUT_SECONDS: Final = 60.0
#: Reports return messages of programs, whose lines may be longer than the 998 bytes of RFC 5322.
MAX_LINE_BYTES: Final = 64 * 1024

TAKEN: Final = "250 2.0.0 taken"
NO_SUCH_ADDRESS: Final = "550 5.1.1 no such address here"
ONE_RECIPIENT: Final = "452 4.5.3 one recipient at a time"
NOT_NOW: Final = "451 4.3.0 try again later"
TOO_BUSY: Final = b"421 4.3.2 too many connections, try again later\r\n"


def hooks_by_address(hooks: Mapping[tuple[str, str], Hook]) -> Mapping[str, Hook]:
    """Return the hooks by the addresses that they take mail for."""
    return {address.lower(): hook for hook in hooks.values() for address in hook.addresses}


class MailHandler:
    """Answers the commands of a session; the names of its methods are those of aiosmtpd."""

    def __init__(
        self, hooks: Mapping[str, Hook], producer: WebhookProducer, return_path_pattern: str
    ) -> None:
        """Take the hooks by address, and a deployment's own form of variable return paths."""
        self._hooks = hooks
        self._producer = producer
        self._pattern = return_path_pattern

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        """Take the one recipient of a mail, if it is an address of a hook."""
        if envelope.rcpt_tos:
            return ONE_RECIPIENT
        if self._hook_of(address) is None:
            _count_refusal("address")
            return NO_SUCH_ADDRESS
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 go on"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Publish a mail, and return the answer when the broker has it."""
        (address,) = envelope.rcpt_tos
        hook = self._hook_of(address)
        mail = envelope.content
        assert hook is not None
        assert isinstance(mail, bytes)
        tenant_header = DEFAULT_TENANT_HEADER if hook.several_tenants else TENANT_HEADER
        headers = {
            reports.RECIPIENT_HEADER: address,
            reports.SENDER_HEADER: envelope.mail_from or "<>",
            tenant_header: hook.tenant,
        }
        headers |= reports.query_headers(mail, headers, self._pattern)
        try:
            await self._producer.publish(
                hook.topic, mail, [(name, value.encode()) for name, value in headers.items()]
            )
        except NotPublishedError as error:
            _count_refusal("broker")
            log.warning("mail_refused", tenant=hook.tenant, reason="broker", detail=str(error))
            return NOT_NOW
        metrics.HOOKS_ACCEPTED_TOTAL.labels(provider=hook.provider).inc()
        log.debug("mail_accepted", tenant=hook.tenant, bytes=len(mail))
        return TAKEN

    async def handle_exception(self, error: Exception) -> str:
        """Answer what nobody foresaw: the mail comes again."""
        _count_refusal("error")
        log.warning("mail_failed", error=type(error).__name__)
        return NOT_NOW

    def _hook_of(self, address: str) -> Hook | None:
        """Return the hook of an address, of its mailbox without a subaddress, or of its domain."""
        name, _, domain = address.lower().rpartition("@")
        mailbox, _, _ = name.partition("+")
        candidates = (f"{name}@{domain}", f"{mailbox}@{domain}", f"@{domain}")
        return next((self._hooks[text] for text in candidates if text in self._hooks), None)


class _Overload(asyncio.Protocol):
    """Sends whoever comes away."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(TOO_BUSY)
        transport.close()


class _SmtpConnection(SMTP):
    """A connection that is counted while it is open."""

    line_length_limit = MAX_LINE_BYTES
    connections: _Connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connections.open_count += 1
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.connections.open_count -= 1
        super().connection_lost(error)


class _LmtpConnection(_SmtpConnection, LMTP):
    """The same with LHLO."""


_CONNECTIONS: Final[Mapping[str, type[_SmtpConnection]]] = {
    "lmtp": _LmtpConnection,
    "smtp": _SmtpConnection,
}


class _Connections:
    """Makes the protocol of each connection."""

    def __init__(self, handler: MailHandler, protocol: str, max_bytes: int) -> None:
        self.open_count = 0
        self._handler = handler
        self._connection_type = _CONNECTIONS[protocol]
        self._max_bytes = max_bytes

    def __call__(self) -> asyncio.BaseProtocol:
        if self.open_count >= MAX_CONNECTIONS:
            return _Overload()
        connection = self._connection_type(
            self._handler,
            data_size_limit=self._max_bytes,
            enable_SMTPUTF8=True,
            hostname="sendlog",
            ident="Sendlog",
            timeout=IDLE_TIMEOUT_SECONDS,
            auth_exclude_mechanism=["LOGIN", "PLAIN"],
            loop=asyncio.get_running_loop(),
        )
        connection.connections = self
        return connection


@asynccontextmanager
async def mail_listener(
    listener: socket.socket, handler: MailHandler, gateway: GatewaySettings, max_bytes: int
) -> AsyncIterator[None]:
    """Take mails from a socket that listens, until the context ends."""
    connections = _Connections(handler, gateway.mail_protocol, max_bytes)
    server = await asyncio.get_running_loop().create_server(connections, sock=listener)
    async with server:
        yield


def _count_refusal(reason: str) -> None:
    metrics.HOOKS_REFUSED_TOTAL.labels(provider=reports.PROVIDER, reason=reason).inc()
