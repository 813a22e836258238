"""What the tables hold of a person: of each, the rows that are of an address, or that name it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from projections.clickhouse.ddl import RECORD_INDEX_TABLE, Target
from projections.clickhouse.sql import Query, stream
from projections.column_types import STRING
from projections.expressions import quote
from projections.tables import log_of, projections
from projections.tables.audit import TABLE as AUDIT
from projections.tables.dead_letters import TABLE as DEAD_LETTERS
from projections.tables.edges import TABLE as EDGES
from projections.tables.events import TABLE as EVENTS
from projections.tables.raw_records import TABLE as RAW_RECORDS
from projections.tables.record_names import TABLE as RECORD_NAMES
from projections.tables.saved_views import TABLE as SAVED_VIEWS
from projections.tables.suppression_history import TABLE as HISTORY
from projections.tables.suppressions import VIEW as SUPPRESSIONS
from projections.tables.unmatched import TABLE as UNMATCHED
from schemas.addresses import Address
from schemas.providers import TENANT_HEADER
from schemas.pseudonyms import CODE_FIELDS, ID_FIELDS, PERSONAL_FIELDS
from schemas.written_forms import LINE_BREAKS, written_pattern

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Tables in which no recipient of a message stands.
IMPERSONAL_TABLES: Final = frozenset(
    {"api_keys", "backup_offsets", "ended_sessions", "policy_history", "forgotten", "forgetting"}
)
_EVENT_TEXTS: Final = (*PERSONAL_FIELDS, *CODE_FIELDS, *ID_FIELDS, "arrayStringConcat(tags, '\\n')")
_RAW_TEXTS: Final = (
    "value", "arrayStringConcat(arrayMap(each -> ifNull(each.value, ''), headers), '\\n')",
)  # fmt: skip
_LETTER_TEXTS: Final = ("raw", "reason", "arrayStringConcat(mapValues(headers), '\\n')")
#: How a payload names its tenant, also one that cannot be read.
_NAMED_TENANT: Final = r'tenant_id\\*"\s*:\s*\[?\s*\\*"([^"\\]*)'
#: Whose a raw record or a dead letter is, as far as it says so itself.
_RAW_TENANT: Final = (
    "firstNonDefault("
    f"ifNull(arrayFirst(each -> each.name = '{TENANT_HEADER}', headers).value, ''), "
    f"extract(value, {quote(_NAMED_TENANT)}))"
)
_LETTER_TENANT: Final = (
    f"firstNonDefault(headers['{TENANT_HEADER}'], extract(raw, {quote(_NAMED_TENANT)}))"
)
#: What tells a row of a table from all others, as one text.
ROW_KEYS: Final[Mapping[str, str]] = {
    EVENTS.name: "concat(event_id, '/', toString(content))",
    UNMATCHED.name: "event_id",
    RECORD_NAMES.name: "concat(tenant_id, '\\x1f', record_type, '\\x1f', record_id)",
    HISTORY.name: "concat(tenant_id, '\\x1f', address, '\\x1f', event_id)",
    AUDIT.name: "id",
    SAVED_VIEWS.name: "concat(tenant_id, '\\x1f', owner, '\\x1f', channel, '\\x1f', name)",
    RECORD_INDEX_TABLE: (
        "concat(tenant_id, '\\x1f', channel, '\\x1f', record_id, '\\x1f', recipient, '\\x1f', "
        "toString(key_hash))"
    ),
    RAW_RECORDS.name: "concat(topic, '/', toString(partition), '/', toString(offset))",
    DEAD_LETTERS.name: (
        "concat(source_topic, '/', toString(source_partition), '/', toString(source_offset), '/', "
        "toString(element))"
    ),
}
_EVENT_PLACE: Final = (
    "concat(source_topic, '/', toString(source_partition), '/', toString(source_offset))"
)


@dataclass(frozen=True, slots=True)
class PersonRows:
    """Finds the rows of a person, the address of a tenant, in the tables of a database."""

    target: Target
    address: Address

    def tables(self) -> Iterator[str]:
        """Yield the names of the tables in which a person may stand."""
        yield from ROW_KEYS
        yield EDGES.name
        yield from (log.state_table for log in projections().values())

    def query(self) -> Query:
        """Return a query of the tenant."""
        return Query(self.address.tenant_id)

    def where(self, table: str, query: Query) -> str:
        """Return the condition for the rows of a table; the values are bound to `query`."""
        conditions: dict[str, Callable[[Query], str]] = {
            EVENTS.name: self._of_events,
            UNMATCHED.name: self._of_unmatched,
            EDGES.name: self._of_edges,
            RECORD_INDEX_TABLE: self._of_records,
            RECORD_NAMES.name: self._of_record_names,
            HISTORY.name: self._of_history,
            AUDIT.name: self._of_audit,
            SAVED_VIEWS.name: self._of_saved_views,
            RAW_RECORDS.name: self._of_raw_records,
            DEAD_LETTERS.name: self._of_dead_letters,
        }
        if table in conditions:
            return conditions[table](query)
        is_own = table == log_of(self.address.channel).state_table
        return f"{query.of_tenant} AND {self._is(query, 'recipient') if is_own else '0'}"

    def of_person(self, query: Query) -> str:
        """Return the condition for events of the person alone."""
        return f"{self._of_channel(query)} AND {self._is(query, 'recipient')}"

    def of_nobody(self, query: Query) -> str:
        """Return the condition for events that came without a recipient, and are the person's."""
        key = "kind, occurred_at, event_id"
        return (
            f"{self._of_channel(query)} AND recipient = '' AND ({key}) GLOBAL IN (SELECT {key} "
            f"FROM {self._name(UNMATCHED.name)} WHERE {self._of_channel(query)} "
            f"AND {self._is(query, 'joined_recipient')})"
        )

    def naming(self, query: Query) -> str:
        """Return the condition for other events, of anybody, that name the address."""
        own = f"({self.of_person(query)})"
        return f"{query.of_tenant} AND NOT {own} AND {self._names(query, *_EVENT_TEXTS)}"

    def rows(self, client: Client, table: str, columns: str = "*") -> Iterator[dict[str, Any]]:
        """Yield the rows of a table. Raises ClickHouse's errors."""
        query = self.query()
        where = self.where(table, query)
        yield from stream(
            client, f"SELECT {columns} FROM {self._name(table)} WHERE {where}", query.values
        )

    def own_rows(self, client: Client) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield all that is kept of the person, with the table of each row; nothing of others.

        A raw record from which others' events came, too, has neither headers nor value: it tells of
        them. Raises ClickHouse's errors.
        """
        log = log_of(self.address.channel)
        own: dict[str, Callable[[Query], str]] = {
            log.name: lambda query: f"{query.of_tenant} AND {self._is(query, 'recipient')}",
            EVENTS.name: lambda query: f"({self.of_person(query)}) OR ({self.of_nobody(query)})",
            SUPPRESSIONS.name: self._of_address,
            HISTORY.name: self._of_address,
            RAW_RECORDS.name: self._of_own_raw_records,
        }
        for table in (*own, EDGES.name, RECORD_NAMES.name, AUDIT.name, DEAD_LETTERS.name):
            query = self.query()
            where = own[table](query) if table in own else self.where(table, query)
            columns = "*"
            if table == RAW_RECORDS.name:
                shared = f"{ROW_KEYS[table]} GLOBAL IN ({self._shared_places(query)})"
                columns = (
                    f"* REPLACE (if({shared}, '', base64Encode(value)) AS value, "
                    f"if({shared}, [], headers) AS headers), {shared} AS is_shared"
                )
            elif table == DEAD_LETTERS.name:
                columns = "* REPLACE (base64Encode(raw) AS raw)"
            final = "" if table in {log.name, SUPPRESSIONS.name} else " FINAL"
            # Apart: the condition must not be put to what stands for a column.
            rows = f"SELECT * FROM {self._name(table)}{final} WHERE {where}"
            sql = f"SELECT {columns} FROM ({rows})"
            for row in stream(client, sql, query.values):
                yield table, row

    def count(self, client: Client, table: str) -> int:
        """Return how many rows of a table there are, also of copies that are not merged yet."""
        return int(next(self.rows(client, table, "count() AS rows"))["rows"])

    def _of_address(self, query: Query) -> str:
        return f"{self._of_channel(query)} AND {self._is(query, 'address')}"

    def _of_own_raw_records(self, query: Query) -> str:
        events = f"SELECT {_EVENT_PLACE} FROM {self._name(EVENTS.name)}"
        wheres = (self.of_person(query), self.of_nobody(query))
        place = ROW_KEYS[RAW_RECORDS.name]
        return " OR ".join(f"{place} GLOBAL IN ({events} WHERE {where})" for where in wheres)

    def _shared_places(self, query: Query) -> str:
        """Return the SELECT of where records are from that gave events of others, too."""
        own = f"({self.of_person(query)}) OR recipient = ''"
        return (
            f"SELECT {_EVENT_PLACE} FROM {self._name(EVENTS.name)} GROUP BY {_EVENT_PLACE} "
            f"HAVING countIf({self.of_person(query)}) > 0 AND countIf(NOT ({own})) > 0"
        )

    def _name(self, table: str) -> str:
        return f"{self.target.database}.{table}"

    def _of_channel(self, query: Query) -> str:
        return f"{query.of_tenant} AND {self._is_channel(query)}"

    def _is_channel(self, query: Query) -> str:
        return f"channel = {query.bind(self.address.channel, STRING)}"

    def _is(self, query: Query, column: str) -> str:
        return f"{column} = {query.bind(self.address.address, STRING)}"

    def _names(self, query: Query, *texts: str) -> str:
        """Return the condition that one of some texts names the address, in any form."""
        pattern = query.bind(written_pattern(self.address), STRING)
        breaks = query.bind(LINE_BREAKS, STRING)
        text = f"toValidUTF8(concatWithSeparator('\\n', {', '.join(texts)}))"
        return (
            f"(match({text}, {pattern}) "
            f"OR match(replaceRegexpAll({text}, {breaks}, ''), {pattern}))"
        )

    def _of_events(self, query: Query) -> str:
        parts = (self.of_person(query), self.of_nobody(query), self.naming(query))
        return " OR ".join(f"({part})" for part in parts)

    def _of_history(self, query: Query) -> str:
        own = f"{self._is_channel(query)} AND {self._is(query, 'address')}"
        return f"{query.of_tenant} AND (({own}) OR {self._names(query, 'reason')})"

    def _of_unmatched(self, query: Query) -> str:
        columns = ("recipient", "joined_recipient")
        own = " OR ".join(self._is(query, column) for column in columns)
        names = self._names(query, "provider_message_id", "joined_id")
        return f"{self._of_channel(query)} AND ({own} OR {names})"

    def _of_edges(self, query: Query) -> str:
        names = self._names(query, "provider_message_id", "message_id")
        return f"{self._of_channel(query)} AND ({self._is(query, 'recipient')} OR {names})"

    def _of_records(self, query: Query) -> str:
        own = f"{self._is_channel(query)} AND {self._is(query, 'recipient')}"
        return f"{query.of_tenant} AND (({own}) OR {self._names(query, 'record_id')})"

    def _of_record_names(self, query: Query) -> str:
        """Return the condition for those that name the address, or are of nobody else."""
        record, events = "record_type, record_id", self._name(EVENTS.name)
        of_person = f"SELECT {record} FROM {events} WHERE {self.of_person(query)}"
        own = f"({self._is_channel(query)} AND {self._is(query, 'recipient')})"
        of_nobody_else = (
            f"SELECT {record} FROM {events} WHERE {query.of_tenant} AND record_id != '' "
            f"AND ({record}) GLOBAL IN ({of_person}) "
            f"GROUP BY {record} HAVING min({own} OR recipient = '')"
        )
        return (
            f"{query.of_tenant} AND ({self._names(query, 'record_id', 'name', 'url')} "
            f"OR ({record}) GLOBAL IN ({of_nobody_else}))"
        )

    def _of_audit(self, query: Query) -> str:
        return (
            f"tenant_id IN ({query.bind(self.address.tenant_id, STRING)}, '*') "
            f"AND {self._names(query, 'object', 'detail')}"
        )

    def _of_saved_views(self, query: Query) -> str:
        return f"{query.of_tenant} AND {self._names(query, 'name', 'query')}"

    def _of_raw_records(self, query: Query) -> str:
        """Return the condition for what the person's events were made of, or that names it.

        A raw record has the tenant that it names, or that of its events. Of a copy, whose events
        were merged with those of another, nobody knows it.
        """
        place, raw = ROW_KEYS[RAW_RECORDS.name], self._name(RAW_RECORDS.name)
        tenant = query.bind(self.address.tenant_id, STRING)
        is_theirs = f"{_RAW_TENANT} IN ({tenant}, '') AND {self._names(query, *_RAW_TEXTS)}"
        naming = f"SELECT {place} FROM {raw} WHERE {is_theirs}"
        events = f"SELECT {_EVENT_PLACE} FROM {self._name(EVENTS.name)}"
        others = (
            f"{events} WHERE {_EVENT_PLACE} GLOBAL IN ({naming}) "
            f"GROUP BY {_EVENT_PLACE} HAVING countIf({query.of_tenant}) = 0"
        )
        own = self._of_own_raw_records(query)
        return (
            f"{own} OR ({is_theirs} AND ({_RAW_TENANT} != '' OR {place} GLOBAL NOT IN ({others})))"
        )

    def _of_dead_letters(self, query: Query) -> str:
        tenant = query.bind(self.address.tenant_id, STRING)
        return f"{self._names(query, *_LETTER_TEXTS)} AND {_LETTER_TENANT} IN ({tenant}, '')"


def stored_addresses(client: Client, database: str, tenant: str) -> Iterator[Address]:
    """Yield each address of a tenant's events and entries, once. Raises ClickHouse's errors."""
    query = Query(tenant)
    sql = (
        f"SELECT channel, recipient AS address FROM {database}.{EVENTS.name} WHERE {query.where} "
        f"UNION DISTINCT SELECT channel, address FROM {database}.{HISTORY.name} WHERE {query.where}"
    )
    for row in stream(client, sql, query.values):
        if row["address"]:
            yield Address(tenant, *row.values())


def addresses_of_record(
    client: Client, database: str, tenant: str, record_type: str, record_id: str
) -> Sequence[Address]:
    """Return the addresses of the messages about a customer record. Raises ClickHouse's errors."""
    query = Query(tenant)
    query.add(
        f"record_type = {query.bind(record_type, STRING)}",
        f"record_id = {query.bind(record_id, STRING)}",
        "recipient != ''",
    )
    sql = (
        f"SELECT DISTINCT channel, recipient FROM {database}.{EVENTS.name} "
        f"WHERE {query.where} ORDER BY channel, recipient"
    )
    return [Address(tenant, *row.values()) for row in stream(client, sql, query.values)]
