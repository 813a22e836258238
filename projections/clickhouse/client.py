"""A client of ClickHouse, and what its errors mean for the one who asks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from ssl import SSLError
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver import httputil
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ProtocolError

from projections.tls import TlsFiles, client_context, modified_at, tls_problem
from schemas.errors import ExplainedError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from urllib3 import BaseHTTPResponse, PoolManager


class ClassifiedError(ExplainedError):
    """What the database, or the way to it, says; `code` is ClickHouse's error code, 0 if none."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class TransientError(ClassifiedError):
    """The database is away, overloaded or read-only: the same write will do later."""


class MemoryLimitError(TransientError):
    """The database has not enough memory for the write, now or for so many rows at once."""


class FatalError(ClassifiedError):
    """A table, column, user or right is missing: nothing can be written until somebody acts."""


class BadRowsError(ClassifiedError):
    """The database refuses something in these rows."""


#: Codes of ClickHouse's ErrorCodes.cpp. Any other is fatal: about neither the time nor the rows.
TRANSIENT_CODES: Final = frozenset({
    3, 159, 160, 173, 198, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252, 279, 285, 286,
    290, 305, 319, 335, 364, 394, 415, 425, 439, 473, 499, 568, 590, 594, 600, 606, 627, 630, 641,
    643, 668, 700, 733, 999,
})  # fmt: skip


MEMORY_LIMIT_CODE: Final = 241


#: Of a database, table, view or column that is not there, or not yet as it is declared.
UNMIGRATED_CODES: Final = frozenset({8, 10, 16, 20, 47, 60, 81})


#: Of a user, a password or a right; a setting that a user may not change is one, too.
DENIED_CODES: Final = frozenset({164, 192, 193, 194, 291, 452, 497, 516})


#: What is wrong with a value: not parsed, out of range, missing, too large.
ROW_CODES: Final = frozenset({6, 25, 26, 27, 33, 38, 41, 69, 70, 72, 117, 131, 190, 321, 349, 691})


_HTTP_STATUS: Final = re.compile(
    r"HTTP status (?:code )?(\d{3})|status code (\d{3})", re.IGNORECASE
)


TRANSIENT_STATUSES: Final = frozenset({"408", "429", "500", "502", "503", "504"})


_ERROR_CODE: Final = re.compile(r"(?:code: |Code: )(\d+)")


#: By the beginning of a version. A filter of the latest rows overflows on times as small as EPOCH.
_WORKAROUNDS: Final = {"26.5.": {"use_top_k_dynamic_filtering": 0}}
_SETTINGS: Final = {
    # On a cluster all of a recipient is on one shard, so a set of messages may be found on each
    # shard for itself; else a distributed table within a distributed query is refused.
    "distributed_product_mode": "local",
    # On its shard, not only on the disk of the server that it was sent to.
    "distributed_foreground_insert": 1,
}


#: What begins the variables of the settings about ClickHouse.
GROUP: Final = "SENDLOG_CLICKHOUSE"
NO_FILES: Final = TlsFiles(group=GROUP)


def connect(
    url: str,
    *,
    user: str,
    password: str,
    database: str = "",
    timeout: float = 120,
    files: TlsFiles = NO_FILES,
) -> Client:
    """Return a client of the HTTP interface at `url`; safe to share between threads.

    An https address is verified, by `files`. With a certificate and no password the user logs in by
    the certificate. Raises `TransientError` if nothing answers, `FatalError` if the server is not
    trusted, or the user or database is refused, and `TlsFileError`.
    """
    try:
        client = clickhouse_connect.get_client(
            dsn=url,
            # The client goes by the port otherwise, and would send the password in clear.
            secure=urlsplit(url).scheme == "https",
            username=user,
            password=password,
            database=database or "default",
            autogenerate_session_id=False,
            connect_timeout=10,
            send_receive_timeout=timeout,
            query_retries=0,
            tz_mode="aware",
            client_name="sendlog",
            settings=_SETTINGS,
            client_cert=None if password or not files.certificate else str(files.certificate),
            pool_mgr=_connections(url, files),
        )
    except (ClickHouseError, OSError) as error:
        raise classify_error(error) from error
    work_around(client)
    return client


def _connections(url: str, files: TlsFiles) -> PoolManager:
    """Return the pools that the client would take, of connections that notice a cut answer."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = httputil.check_env_proxy(parts.scheme, host, parts.port or 0)
    if parts.scheme == "https":
        return _https_pools(proxy, files, modified_at(files))
    pools = httputil.get_proxy_manager(host, proxy) if proxy else httputil.default_pool_manager()
    return _uncut_pools(pools)


@lru_cache(maxsize=8)
def _https_pools(proxy: str | None, files: TlsFiles, _modified_at: object) -> PoolManager:
    """Return the pools of all clients with these files, until one of the files changes."""
    context = client_context(files)
    return _uncut_pools(httputil.get_pool_manager(https_proxy=proxy, ssl_context=context))


def _uncut_pools(pools: PoolManager) -> PoolManager:
    pools.pool_classes_by_scheme = {"http": _HttpConnections, "https": _HttpsConnections}
    return pools


class _HttpConnections(HTTPConnectionPool):
    def urlopen(self, *args: Any, **options: Any) -> BaseHTTPResponse:
        return _uncut(super().urlopen(*args, **options))


class _HttpsConnections(HTTPSConnectionPool):
    def urlopen(self, *args: Any, **options: Any) -> BaseHTTPResponse:
        return _uncut(super().urlopen(*args, **options))


def _uncut(answer: BaseHTTPResponse) -> BaseHTTPResponse:
    """Return an answer that says where it ends, as those of ClickHouse do; of others raise.

    A connection that breaks among the headers would leave one that reads as an empty result.
    """
    if not getattr(answer, "chunked", False) and answer.length_remaining is None:
        answer.close()
        raise ProtocolError("the answer does not say where it ends: it was cut")
    return answer


def work_around(client: Client) -> None:
    """Set what a version of the server needs, because it answers wrongly without it."""
    for version, settings in _WORKAROUNDS.items():
        if (client.server_version or "").startswith(version):
            for name, value in settings.items():
                client.set_client_setting(name, value)


def classify_error(error: Exception) -> TransientError | FatalError | BadRowsError:
    """Return what an error of a write means for the one who writes."""
    text = str(error)
    code = _ERROR_CODE.search(text)
    if problem := tls_problem(error, GROUP):
        return FatalError(f"ClickHouse: {problem}")
    summary = text.strip().splitlines()[0][:500] if text.strip() else type(error).__name__
    if code is None:
        status = _HTTP_STATUS.search(text)
        answered = status is not None and (status[1] or status[2]) not in TRANSIENT_STATUSES
        away = isinstance(error, (OperationalError, OSError)) and not isinstance(error, SSLError)
        return FatalError(summary) if answered or not (away or status) else TransientError(summary)
    number = int(code[1])
    if number == MEMORY_LIMIT_CODE:
        return MemoryLimitError(summary, number)
    if number in TRANSIENT_CODES:
        return TransientError(summary, number)
    return (BadRowsError if number in ROW_CODES else FatalError)(summary, number)


@contextmanager
def classified_errors() -> Iterator[None]:
    """Raise what ClickHouse, or the way to it, raises inside as what it means.

    That is `TransientError`, `FatalError` or `BadRowsError`; any other error stays as it is.
    """
    try:
        yield
    except (ClickHouseError, OSError) as error:
        raise classify_error(error) from error
    except Exception as error:
        # The HTTP library's own errors of a broken connection.
        if problem := tls_problem(error, GROUP):
            raise FatalError(f"ClickHouse: {problem}") from error
        if type(error).__module__.startswith(("urllib3", "http")):
            raise TransientError(f"{type(error).__name__}: {error}"[:500]) from error
        raise


def scalar(client: Client, sql: str, parameters: dict[str, Any] | None = None) -> Any:
    """Return the one value of a query."""
    return client.query(sql, parameters=parameters).result_rows[0][0]
