"""A person removed from every table: the figures stay, under a pseudonym.

Events of the person are written again under the pseudonym, without what tells of the person, which
folds them anew; then what they replace is deleted, the events last. So a run that is interrupted is
completed by the next: it finds the events that are left, and to write one twice changes nothing.
Whatever changes a table is a mutation, which rewrites its parts: no byte of the person is left in
them. None names the address, for the engine keeps their text: it stands in the table `forgetting`
meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa

from projections.clickhouse.client import FatalError, scalar
from projections.clickhouse.ddl import (
    KEY_HASH,
    KEY_HASH_SQL,
    REBUILD_SUFFIX,
    RECORD_INDEX_TABLE,
    Target,
    fold_select,
)
from projections.clickhouse.mutations import UNWAITED, wait_for_mutations
from projections.clickhouse.person import ROW_KEYS, PersonRows
from projections.clickhouse.store import arrow_schema, insert_rows, insert_settings
from projections.expressions import quote
from projections.tables import KEY, Table, log_of, projections
from projections.tables.audit import TABLE as AUDIT
from projections.tables.dead_letters import TABLE as DEAD_LETTERS
from projections.tables.edges import TABLE as EDGES
from projections.tables.events import TABLE as EVENTS
from projections.tables.forgetting import TABLE as FORGETTING
from projections.tables.raw_records import TABLE as RAW_RECORDS
from projections.tables.record_names import TABLE as RECORD_NAMES
from projections.tables.saved_views import TABLE as SAVED_VIEWS
from projections.tables.suppression_history import TABLE as HISTORY
from projections.tables.unmatched import TABLE as UNMATCHED
from schemas.addresses import Address
from schemas.pseudonyms import ID_FIELDS, Pseudonyms
from schemas.written_forms import names_address

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Rows that are written by one insert.
MAX_BATCH_ROWS: Final = 5_000
#: Scopes of `forgetting` beside the names of tables.
_ADDRESS: Final = "address"
_MESSAGE: Final = "message"
_ID: Final = "id"
#: The tables whose rows are deleted by their keys.
_DELETED_BY_KEY: Final = (
    RAW_RECORDS.name, DEAD_LETTERS.name, RECORD_NAMES.name, SAVED_VIEWS.name, UNMATCHED.name,
    RECORD_INDEX_TABLE,
)  # fmt: skip
#: What is replaced in rows of others that name the address, and stay.
_EMPTIED: Final[Mapping[str, tuple[str, ...]]] = {
    HISTORY.name: ("reason",),
    AUDIT.name: ("object", "detail"),
}


class ForgottenRows(NamedTuple):
    """How many rows of a table were of a person, or named one."""

    table: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting:
    """A run for one address; run again it completes what was interrupted.

    Workers may go on meanwhile. What they write late is found by another run. Raises ClickHouse's
    errors.
    """

    client: Client
    target: Target
    pseudonyms: Pseudonyms
    address: Address

    @property
    def pseudonym(self) -> str:
        """What stands in for the address."""
        return self.pseudonyms.of(self.address)

    @property
    def _person(self) -> PersonRows:
        return PersonRows(self.target, self.address)

    def preview(self) -> Iterator[ForgottenRows]:
        """Yield how many rows of each table there are; change nothing."""
        for table in self._person.tables():
            yield ForgottenRows(table, self._person.count(self.client, table))

    def run(self) -> Iterator[ForgottenRows]:
        """Remove the person; yield how many rows of each table that was, when all is done."""
        self._fold_again()
        self._mark([(_ADDRESS, self.address.address)])
        self._check_rebuilds()
        counts = {table: self._mark_rows(table) for table in ROW_KEYS}
        counts |= {
            table: self._person.count(self.client, table)
            for table in self._person.tables() if table not in ROW_KEYS
        }  # fmt: skip
        if any(counts.values()):
            self._write()
            self._change({table for table, rows in counts.items() if rows})
            self._fold_again()
        self._unmark()
        self._apply_masks()
        yield from (ForgottenRows(table, rows) for table, rows in counts.items())

    def _check_rebuilds(self) -> None:
        """Raise `FatalError` if a rebuild is under way, which would swap in what it has folded."""
        sql = (
            f"SELECT count() FROM {self.target.system('tables')} "
            "WHERE database = {database:String} AND position(name, {suffix:String}) > 0"
        )
        names = {"database": self.target.database, "suffix": f"_state{REBUILD_SUFFIX}_"}
        if scalar(self.client, sql, names):
            self._unmark()
            raise FatalError(
                "a log is being rebuilt: wait for it, or if nobody runs it, discard it "
                "(sendlog rebuild --take-over)"
            )

    # ---- What is to be changed -----------------------------------------------------------------

    def _mark(self, values: Iterable[tuple[str, str]]) -> None:
        """Put what is to be changed into `forgetting`: pairs of a scope and a value."""
        rows = ({"run": self.pseudonym, "scope": scope, "value": value} for scope, value in values)
        self._insert(FORGETTING, rows)

    def _mark_rows(self, table: str) -> int:
        """Mark the rows of a table that are changed by their keys; return how many are changed."""
        columns = f"{ROW_KEYS[table]} AS key"
        if table == EVENTS.name:
            columns += f", *, {KEY_HASH_SQL} AS message_key"
        elif table == HISTORY.name:
            columns += ", channel, address"
        count = 0

        def marks() -> Iterator[tuple[str, str]]:
            nonlocal count
            for row in self._person.rows(self.client, table, columns):
                count += 1
                if table == EVENTS.name:
                    yield from self._event_marks(row)
                elif not (table == HISTORY.name and self._is_own(row, "address")):
                    yield table, row["key"]

        self._mark(marks())
        return count

    def _event_marks(self, event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield the ids that name the address, and what is marked of an event of somebody else."""
        is_own = self._is_own(event, "recipient")
        for name in ID_FIELDS:
            if names_address(self.address, event[name], is_glued=is_own):
                yield _ID, event[name]
        if not is_own:
            yield EVENTS.name, event["key"]
            yield _MESSAGE, str(event["message_key"])

    def _is_own(self, row: Mapping[str, Any], column: str) -> bool:
        return (row["channel"], row[column]) == (self.address.channel, self.address.address)

    def _marked(self, scope: str) -> str:
        """Return the SELECT of what is marked in a scope."""
        return (
            f"(SELECT value FROM {self.target.database}.{FORGETTING.name} "
            f"WHERE run = {quote(self.pseudonym)} AND scope = {quote(scope)})"
        )

    def _unmark(self) -> None:
        of_run = f"run = {quote(self.pseudonym)}"
        if self._count_marks(of_run):
            self._mutate(FORGETTING.name, f"DELETE WHERE {of_run}")

    def _count_marks(self, where: str) -> int:
        marks = f"{self.target.database}.{FORGETTING.name}"
        return int(scalar(self.client, f"SELECT count() FROM {marks} WHERE {where}"))

    # ---- What is written again -----------------------------------------------------------------

    def _write(self) -> None:
        """Write what is replaced, without the person; the engine folds the events."""
        for table, replaced in (
            (EVENTS, self._event), (HISTORY, self._history_row), (UNMATCHED, self._unmatched_row),
        ):  # fmt: skip
            columns = ", ".join(table.columns)
            rows = self._person.rows(self.client, table.name, columns)
            self._insert(table, (new for row in rows if (new := replaced(row)) is not None))

    def _event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        is_own, is_nobodys = self._is_own(event, "recipient"), event["recipient"] == ""
        if is_own or is_nobodys:
            recipient = self.pseudonym if is_own else ""
            return self.pseudonyms.without_person(event, self.address, recipient)
        changed = self.pseudonyms.without_address(event, self.address)
        return {**event, **changed, "event_id": self.pseudonyms.of_id(event["event_id"])}

    def _history_row(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        if not self._is_own(row, "address"):
            return None
        ids = {name: self.pseudonyms.of_id(row[name]) for name in ("event_id", "cause_event_id")}
        message = {"message_id": self._id(row["message_id"])}
        return {**row, **ids, **message, "address": self.pseudonym, "reason": ""}

    def _unmatched_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        recipients = {
            name: self.pseudonym for name in ("recipient", "joined_recipient")
            if row[name] == self.address.address
        }  # fmt: skip
        ids = {name: self._id(row[name]) for name in ("provider_message_id", "joined_id")}
        return {**row, **recipients, **ids, "event_id": self.pseudonyms.of_id(row["event_id"])}

    def _id(self, text: str) -> str:
        is_named = names_address(self.address, text, is_glued=True)
        return self.pseudonyms.of_id(text) if is_named else text

    def _insert(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
        rows, schema = iter(rows), arrow_schema(table)
        while batch := [dict(row) for row in islice(rows, MAX_BATCH_ROWS)]:
            insert_rows(
                self.client, self.target.database, table, pa.Table.from_pylist(batch, schema)
            )

    # ---- What is deleted -----------------------------------------------------------------------

    def _change(self, tables: set[str]) -> None:
        """Delete or empty what there is in some tables, the events last."""
        own, ids = f"IN {self._marked(_ADDRESS)}", f"IN {self._marked(_ID)}"
        of_channel = f"{self._of_tenant} AND channel = {quote(self.address.channel)}"
        wheres = {
            log_of(self.address.channel).state_table: f"{self._of_tenant} AND recipient {own}",
            EDGES.name: f"{of_channel} AND (recipient {own} OR provider_message_id {ids} "
            f"OR message_id {ids})",
            HISTORY.name: f"{of_channel} AND address {own}",
            **{table: self._is_marked(table) for table in _DELETED_BY_KEY},
        }
        if EVENTS.name in tables:
            for log in projections().values():
                self._mutate(log.state_table, f"DELETE WHERE {self._of_messages}")
        for table, where in wheres.items():
            if table in tables:
                self._mutate(table, f"DELETE WHERE {where}")
        for table, columns in _EMPTIED.items():
            if table in tables:
                emptied = ", ".join(f"{column} = ''" for column in columns)
                self._mutate(table, f"UPDATE {emptied} WHERE {self._is_marked(table)}")
        if EVENTS.name in tables:
            where = f"({of_channel} AND recipient {own}) OR {self._is_marked(EVENTS.name)}"
            self._mutate(EVENTS.name, f"DELETE WHERE {where}")

    @property
    def _of_tenant(self) -> str:
        return f"tenant_id = {quote(self.address.tenant_id)}"

    @property
    def _of_messages(self) -> str:
        keys = f"(SELECT toUInt64(value) FROM {self._marked(_MESSAGE)})"
        return f"{self._of_tenant} AND {KEY_HASH} IN {keys}"

    def _is_marked(self, table: str) -> str:
        return f"{ROW_KEYS[table]} IN {self._marked(table)}"

    def _mutate(self, table: str, change: str) -> None:
        stored = f"{self.target.stored(table)}{self.target.on_cluster}"
        self.client.command(
            f"ALTER TABLE {stored} {change}",
            settings=UNWAITED | {"allow_nondeterministic_mutations": 1},
        )
        for _ in wait_for_mutations(self.client, self.target, table):
            pass

    def _fold_again(self) -> None:
        """Fold the messages of others once more whose states had to go: their events named it."""
        if not self._count_marks(f"run = {quote(self.pseudonym)} AND scope = {quote(_MESSAGE)}"):
            return
        for log in projections().values():
            keys = f"(SELECT toUInt64(value) FROM {self._marked(_MESSAGE)})"
            where = f"{self._of_tenant} AND {KEY_HASH_SQL} GLOBAL IN {keys}"
            columns = ", ".join([*KEY, *(fold.name for fold in log.folds)])
            self.client.command(
                f"INSERT INTO {self.target.database}.{log.state_table} ({columns}) "
                f"{fold_select(log, f'{self.target.database}.{EVENTS.name}', where)}",
                settings=insert_settings(self.client),
            )

    def _apply_masks(self) -> None:
        """Rewrite the parts in which earlier deletions only hid rows."""
        for table in (*self._person.tables(), FORGETTING.name):
            stored = self.target.stored(table)
            sql = (
                f"SELECT count() FROM {self.target.system('parts')} "
                "WHERE database = {database:String} AND table = {table:String} "
                "AND active AND has_lightweight_delete"
            )
            names = {"database": self.target.database, "table": stored.partition(".")[2]}
            if scalar(self.client, sql, names):
                self._mutate(table, "APPLY DELETED MASK")
