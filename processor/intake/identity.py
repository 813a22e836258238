"""Which messages events are of that come under a provider's id alone, or name no recipient.

What an edge says that is known already is taken as the event is decoded. What comes later is looked
for after each write (`projections.clickhouse.joining`), and once more some minutes later.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

import pyarrow as pa
import pyarrow.compute as pc

from processor import metrics
from processor.logging import get
from projections.clickhouse.client import FatalError, TransientError, classified_errors
from projections.clickhouse.joining import NOTHING_JOINED, Joined, ProviderId, edges_of, join
from projections.clickhouse.sql import Parameters, fetch_rows
from projections.clickhouse.store import Store
from projections.tables.edges import TABLE as EDGES
from projections.tables.unmatched import TABLE as UNMATCHED
from schemas.events import EventFields
from schemas.identity import identity_of_event, is_unmatched, joined_fields
from schemas.providers import adapters

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = get(__name__)

#: An event that stays unmatched is looked at once more after so long, with the next write, whatever
#: kept it from an edge the first time.
SECOND_LOOK_SECONDS: Final = 300.0
#: Ids that wait for that; of more there is the first look only.
MAX_WAITING_IDS: Final = 100_000
#: So long nothing is asked after a question that the database did not answer.
PAUSE_SECONDS: Final = 10.0


class Identities:
    """The identities that a database knows, connected at the first question; for any thread."""

    def __init__(self, connect: Callable[[], Client], database: str) -> None:
        self._connect, self._database = connect, database
        self._client = cache(connect)
        self._insert = Store(connect, database).insert
        #: Channels of tenants that have edges, or unmatched events; of others nothing is asked.
        self._with: dict[str, set[tuple[str, str]]] = {EDGES.name: set(), UNMATCHED.name: set()}
        self._resumes_at = 0.0
        #: Ids of events that stayed unmatched, and when these are looked at again.
        self._second_looks: deque[tuple[float, set[ProviderId]]] = deque()

    def resolve(self, events: Sequence[EventFields]) -> None:
        """Give unmatched events the id and recipient of their message, if an edge is known.

        Never raises: what is not found here is joined after it is written.
        """
        unmatched = [
            event for event in events if event.get("provider_message_id") and is_unmatched(event)
        ]  # fmt: skip
        if not unmatched or monotonic() < self._resumes_at:
            return
        try:
            channels = self._among(EDGES.name, {
                (event["tenant_id"], event["channel"]) for event in unmatched
            })  # fmt: skip
            ids = {
                _provider_id(event) for event in unmatched
                if (event["tenant_id"], event["channel"]) in channels
            }  # fmt: skip
            with classified_errors():
                edges = edges_of(self._client(), self._database, ids)
        except (TransientError, FatalError) as error:
            self._resumes_at = monotonic() + PAUSE_SECONDS
            log.warning("edges_not_read", error=str(error))
            return
        for event in unmatched:
            identity = identity_of_event(event, edges.get(_provider_id(event), ()))
            if identity is not None:
                event.update(cast("EventFields", joined_fields(event, identity)))

    def join(self, tables: Iterable[pa.Table]) -> Joined:
        """Join what is unmatched of events that are written, and what their edges explain; blocks.

        Raises as `classified_errors` and `Store.insert` do.
        """
        rows = _with_provider_ids(pa.concat_tables([each.select(_ID_COLUMNS) for each in tables]))
        names_both = pc.not_equal(rows["message_id"], rows[_PROVIDER_ID])
        has_recipient = pc.fill_null(pc.not_equal(rows["recipient"], b""), False)
        is_complete = pc.and_(names_both, has_recipient)
        unmatched = self._ids_among(EDGES.name, rows.filter(pc.invert(is_complete)))
        explained = self._ids_among(UNMATCHED.name, rows.filter(names_both))
        now = monotonic()
        late = self._due_ids(now) - unmatched - explained
        if not (ids := unmatched | explained | late):
            return NOTHING_JOINED
        with classified_errors():
            joined = join(self._client(), self._database, ids, self._insert)
        done = {
            ProviderId(event["tenant_id"], event["channel"], event["other_id"])
            for event in joined.events
        }  # fmt: skip
        if missed := late & done:
            log.warning("joined_late", ids=len(missed))
        self._look_again_at(unmatched - done, now)
        # A mailer's event may name any provider.
        counts = Counter(
            (event["provider"] if event["provider"] in adapters() else metrics.OTHER_LABEL,
             metrics.tenant_label(event["tenant_id"]))
            for event in joined.events
        )  # fmt: skip
        for (provider, tenant), count in counts.items():
            metrics.JOINED_EVENTS_TOTAL.labels(provider=provider, tenant=tenant).inc(count)
        return joined

    def _due_ids(self, now: float) -> set[ProviderId]:
        """Return the ids that are to be looked at again."""
        return set().union(*(ids for due_at, ids in self._second_looks if due_at <= now))

    def _look_again_at(self, ids: set[ProviderId], now: float) -> None:
        """Have these ids looked at again, and no more those that were."""
        while self._second_looks and self._second_looks[0][0] <= now:
            self._second_looks.popleft()
        waiting = sum(len(each) for _, each in self._second_looks)
        if ids and waiting + len(ids) <= MAX_WAITING_IDS:
            self._second_looks.append((now + SECOND_LOOK_SECONDS, ids))

    def _ids_among(self, table: str, rows: pa.Table) -> set[ProviderId]:
        """Return the ids of rows whose tenant's channel has anything in a table."""
        groups = rows.group_by(["tenant_id", "channel"]).aggregate([]).to_pylist()
        channels = self._among(table, {
            (group["tenant_id"].decode(), group["channel"].decode()) for group in groups
        })  # fmt: skip
        if not channels:
            return set()
        tenants = pa.array(sorted({tenant.encode() for tenant, _ in channels}), pa.binary())
        rows = rows.filter(pc.is_in(rows["tenant_id"], tenants))
        columns = [rows[name].to_pylist() for name in ("tenant_id", "channel", _PROVIDER_ID)]
        return {
            ProviderId(*(text.decode() for text in texts)) for texts in zip(*columns, strict=True)
        }  # fmt: skip

    def _among(self, table: str, channels: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those channels of tenants that have anything in a table."""
        known = self._with[table]
        if new := channels - known:
            parameters = Parameters()
            among = parameters.bind_list(sorted(new), "String", "String")
            with classified_errors():
                rows = fetch_rows(
                    self._client(),
                    f"SELECT DISTINCT tenant_id, channel FROM {self._database}.{table} "
                    f"WHERE (tenant_id, channel) IN {among}",
                    parameters.values,
                )
            known |= {(row[0], row[1]) for row in rows}
        return channels & known


def _provider_id(event: EventFields) -> ProviderId:
    return ProviderId(event["tenant_id"], event["channel"], event["provider_message_id"])


_PROVIDER_ID: Final = "provider_message_id"
_ID_COLUMNS: Final = ("tenant_id", "channel", "message_id", _PROVIDER_ID, "recipient")


def _with_provider_ids(rows: pa.Table) -> pa.Table:
    """Return the events that have a provider's id, and an id of a message.

    Those too that were resolved: a worker may have written such an event, and ended before it
    looked for the edge that has come since.
    """
    has_provider_id = pc.fill_null(pc.not_equal(rows[_PROVIDER_ID], b""), False)
    return rows.filter(pc.and_(pc.not_equal(rows["message_id"], b""), has_provider_id))
