"""Addresses of the local stack: read from the settings, and whether a server may have them."""

from __future__ import annotations

import errno
import random
import socket
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from deploy.local.process import LocalError

if TYPE_CHECKING:
    from processor.settings import Settings

#: Below Linux's range for outgoing connections (from 32768): out of it, a client that keeps trying
#: to reach a port where nothing listens can connect to itself and so take the port.
_FREE: Final = range(20_000, 32_000)


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def broker_address(bootstrap: str) -> Address:
    """Read the one broker's address, `host:port`."""
    host, _, port = bootstrap.rpartition(":")
    if "," in bootstrap or not host or not port.isdigit():
        raise LocalError(
            f"SENDLOG_KAFKA__BOOTSTRAP is {bootstrap!r}: the local stack runs one broker, so it"
            " takes one host:port, such as 127.0.0.1:9092"
        )
    return Address(host.strip("[]"), int(port))


def check_is_plain(settings: Settings) -> None:
    """Raise `LocalError` for settings of encryption and logins: nothing here has those."""
    if settings.kafka.protocol != "PLAINTEXT":
        raise LocalError(
            f"SENDLOG_KAFKA__PROTOCOL is {settings.kafka.protocol}: the local stack's broker takes"
            " PLAINTEXT only"
        )
    if settings.api.certificate_file is not None:
        raise LocalError("SENDLOG_API__CERTIFICATE_FILE is set: the local stack speaks plain HTTP")


def database_address(url: str) -> Address:
    """Read the address of ClickHouse's interface, `http://host:port`."""
    try:
        parts = urlsplit(url)
        port = parts.port or 8123
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname or parts.path not in {"", "/"}:
        raise LocalError(
            f"SENDLOG_CLICKHOUSE__URL is {url!r}: the local stack speaks plain HTTP, so it takes"
            " http://host:port, such as http://127.0.0.1:8123"
        )
    return Address(parts.hostname, port)


def refusal(address: Address, variable: str) -> str:
    """Why a server cannot listen on an address, in one line; nothing if it can."""
    try:
        family, *_, target = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except PermissionError:
        return f"{address} ({variable}) is a reserved port: set {variable} to one above 1023"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return (
                f"{address} ({variable}) is in use by another program: stop that, or set {variable}"
                " to another port"
            )
        return (
            f"{address} ({variable}) is not an address of this machine, so nothing can be started"
            f" there: set {variable} to a local one, such as one on 127.0.0.1"
        )
    return ""


def free_port(*taken: int) -> int:
    """Find a port on the loopback address where nothing listens; `taken` are to be used soon."""
    for port in random.sample(_FREE, 200):
        if port not in taken and not refusal(Address("127.0.0.1", port), ""):
            return port
    raise LocalError("no free port on 127.0.0.1 between 20000 and 32000: stop what holds them")
