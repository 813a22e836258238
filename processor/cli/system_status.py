"""What of a deployment is up, and how far behind it is: asked of its parts, from outside."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Final, Literal, TypeAlias, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from processor.clickhouse import client_of
from processor.http.server import HttpServer
from processor.kafka import health
from processor.kafka.connection import BrokerError
from processor.kafka.group_lag import TopicLag, group_lags, worker_hosts
from processor.settings import Settings
from projections.clickhouse.client import TransientError, classified_errors
from projections.queries.recent_failures import RecentFailures, count_recent_failures
from schemas.errors import ExplainedError

MAX_ANSWER_SECONDS: Final = 6.0
MAX_PAGE_BYTES: Final = 4_000_000
_NO_ANSWER: Final = "nobody answers"
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - where it is asked at

PartState: TypeAlias = Literal["up", "not ready", "down"]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStatus:
    """A part of the deployment: where it is, how it is, and what it says it lacks."""

    part: str
    where: str
    state: PartState
    lacks: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStatus:
    """All that was learned at a moment; None is what could not be."""

    at: datetime
    parts: Sequence[PartStatus]
    topics: Sequence[TopicLag] | None
    #: Of workers with metrics: the oldest chunk that is not acked, and the latest write.
    oldest_unacked_seconds: float | None
    last_write: datetime | None
    failures: RecentFailures | None

    @property
    def works(self) -> bool:
        """Whether events are written: both servers answer, and there is a worker."""
        servers = [each for each in self.parts if each.part in {"kafka", "clickhouse"}]
        workers = [each for each in self.parts if each.part == "worker"]
        return all(each.state == "up" for each in servers) and any(
            each.state != "down" for each in workers
        )


def read_status(settings: Settings, metrics_urls: Sequence[str] = ()) -> SystemStatus:
    """Ask all parts at once: both servers, the group, API and gateway where the settings have them.

    `metrics_urls` are where workers serve metrics, as http://10.0.0.7:9101; none: where the
    settings say. What is away is a part that is down; no error is raised.
    """
    own = f"http://{_at(settings.metrics_host)}:{settings.metrics_port}"
    urls = metrics_urls or ([own] if settings.metrics_port else [])
    with ThreadPoolExecutor(max_workers=8) as threads:
        kafka = threads.submit(_kafka, settings)
        clickhouse = threads.submit(_clickhouse, settings)
        servers = [
            threads.submit(_server, "gateway", settings.gateway),
            threads.submit(_server, "api", settings.api),
        ]
        scraped = [threads.submit(_worker, url) for url in urls]
        # While it is away its clients would try for long.
        is_up = kafka.result().state == "up"
        members = threads.submit(_or_none, partial(worker_hosts, settings.kafka), is_up)
        lags = threads.submit(_or_none, partial(group_lags, settings.kafka), is_up)
        hosts = members.result() or []
        workers = [each.result() for each in scraped]
        in_group = [
            PartStatus(part="worker", where=f"{host}, of the group", state="up") for host in hosts
        ]
        database, failures = clickhouse.result()
        return SystemStatus(
            at=datetime.now(UTC),
            parts=[
                kafka.result(), database, *([each.part for each in workers] or in_group),
                *([] if workers or in_group else [_no_worker(settings)]),
                *(each.result() for each in servers),
            ],
            topics=lags.result(),
            oldest_unacked_seconds=max(
                (each.oldest for each in workers if each.oldest is not None), default=None
            ),
            last_write=max((each.last_write for each in workers if each.last_write), default=None),
            failures=failures,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Worker:
    part: PartStatus
    oldest: float | None = None
    last_write: datetime | None = None


def _no_worker(settings: Settings) -> PartStatus:
    where = f"group {settings.kafka.group}"
    return PartStatus(
        part="worker", where=where, state="down", lacks=["no member of the group is known"]
    )


def _or_none(question: Callable[[], Answer], is_up: bool) -> Answer | None:
    try:
        return question() if is_up else None
    except BrokerError:  # the part `kafka` says why
        return None


def _kafka(settings: Settings) -> PartStatus:
    problem = asyncio.run(health.broker_problem(settings.kafka))
    state: PartState = "down" if problem else "up"
    lacks = [problem] if problem else []
    return PartStatus(part="kafka", where=settings.kafka.bootstrap, state=state, lacks=lacks)


def _clickhouse(settings: Settings) -> tuple[PartStatus, RecentFailures | None]:
    where = settings.clickhouse.url.rpartition("@")[2]
    try:
        with classified_errors():
            failures = count_recent_failures(client_of(settings), settings.clickhouse.database)
    except ExplainedError as error:
        lacks = ["it is away" if isinstance(error, TransientError) else str(error)]
        return PartStatus(part="clickhouse", where=where, state="down", lacks=lacks), None
    return PartStatus(part="clickhouse", where=where, state="up"), failures


def _server(part: str, server: HttpServer) -> PartStatus:
    scheme = "https" if server.certificate_file else "http"
    where = f"{scheme}://{_at(server.host)}:{server.port}"
    status, text = _get(f"{where}/readyz")
    lacks = _lacks(text) if status else [_NO_ANSWER]
    return PartStatus(part=part, where=where, state=_state(status), lacks=lacks)


def _worker(url: str) -> _Worker:
    status, text = _get(f"{url}/readyz")
    if not status:
        return _Worker(PartStatus(part="worker", where=url, state="down", lacks=[_NO_ANSWER]))
    part = PartStatus(part="worker", where=url, state=_state(status), lacks=_lacks(text))
    samples = dict(_samples(_get(f"{url}/metrics")[1]))
    at = samples.get("sendlog_last_write_timestamp_seconds")
    return _Worker(
        part, samples.get("sendlog_oldest_unacked_seconds"),
        datetime.fromtimestamp(at, UTC) if at else None,
    )  # fmt: skip


def _state(status: int) -> PartState:
    if not status:
        return "down"
    return "up" if status == HTTPStatus.OK else "not ready"


def _samples(text: str) -> Iterator[tuple[str, float]]:
    """Yield each metric's largest value over its labels."""
    for family in text_string_to_metric_families(text):
        if values := [sample.value for sample in family.samples if sample.name == family.name]:
            yield family.name, max(values)


def _lacks(text: str) -> list[str]:
    """Return what the answer to `/readyz` says is missing."""
    try:
        body = json.loads(text)
    except ValueError:
        return []
    if not isinstance(body, Mapping):
        return []
    return [*map(str, body.get("missing", ())), *([body["detail"]] if "detail" in body else [])]


def _at(host: str) -> str:
    return _ANYWHERE.get(host, f"[{host}]" if ":" in host else host)


def _get(url: str) -> tuple[int, str]:
    """Return the status and the text of a page; status 0 if nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=MAX_ANSWER_SECONDS) as reply:  # noqa: S310 - http
            return reply.status, reply.read(MAX_PAGE_BYTES).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(MAX_PAGE_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return 0, ""
