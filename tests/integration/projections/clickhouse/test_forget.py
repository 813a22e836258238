"""A person who was forgotten is nowhere in the tables, in no writing; the figures stay."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from processor.intake import raw_records
from processor.intake.decoder import Decoder
from processor.kafka.records import Chunk
from processor.replay.records import RawRecord
from processor.settings import IntakeSettings
from projections.clickhouse import rebuild
from projections.clickhouse.client import FatalError
from projections.clickhouse.ddl import Target
from projections.clickhouse.forget import Forgetting
from projections.clickhouse.joining import join_history
from projections.clickhouse.migrate import migrate
from projections.clickhouse.person import PersonRows
from projections.clickhouse.store import Store, arrow_schema, insert_rows
from projections.tables import projections, tables
from projections.tables.dead_letters import TABLE as DEAD_LETTERS
from projections.tables.events import TABLE as EVENTS
from projections.tables.raw_records import TABLE as RAW_RECORDS
from schemas.addresses import Address
from schemas.events import milliseconds
from schemas.providers import adapters
from schemas.pseudonyms import Pseudonyms
from tests import canaries
from tests.canaries import EMAIL, PHONE
from tests.clickhouse import connect_to
from tests.person_scanner import stands_in, stored_values

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
SECRET = "a secret of tests, long enough for it"
CANARIES = {"email": EMAIL, "sms": PHONE}


@pytest.fixture(params=["one server", "two shards"])
def database(request):
    if request.param == "two shards":
        return request.getfixturevalue("cluster_database")
    fresh = request.getfixturevalue("fresh_database")
    client, target = connect_to(fresh.url), Target(fresh.name)
    list(migrate(client, target))
    return client, target


def nodes(client):
    return getattr(client, "clients", [client])


def fill(client, target, tenants=("t", "other"), every=10):
    """Write what all providers and the mailers say of the canaries, and what else names them."""
    by_topic = {}
    for number, tenant in enumerate(tenants):
        for _, provider, payload, headers in canaries.payloads(every):
            topic = f"{adapters()[provider].CHANNEL}.events.{provider}"
            put_record(by_topic, topic, number, payload, {**headers, "sendlog-tenant": tenant})
        for channel in CANARIES:
            for message in mailer_events(channel, tenant):
                put_record(by_topic, f"{channel}.sends", number, json.dumps(message), {})
    decode = Decoder(IntakeSettings(), max_record_bytes=1_000_000)
    decoded = [decode(Chunk(*place, records)) for place, records in by_topic.items()]
    events = pa.concat_tables([each.events for each in decoded])
    insert_rows(client, target.database, RAW_RECORDS, raw_records.to_rows(decoded))
    insert_rows(client, target.database, EVENTS, events)
    list(join_history(client, target.database, Store(lambda: client, target.database).insert))
    put_rest(client, target, tenants)


def put_record(by_topic, topic, partition, payload, headers):
    records = by_topic.setdefault((topic, partition), [])
    pairs = tuple((name, value.encode()) for name, value in headers.items())
    records.append(
        RawRecord(topic, partition, len(records), milliseconds(NOW), pairs, payload.encode())
    )


def mailer_events(channel, tenant):
    """Yield what mailers say: with the canary in every field, and in the texts of others."""
    canary = CANARIES[channel]
    event = {
        "channel": channel, "kind": "sent", "tenant_id": tenant, "message_id": f"own-{canary}",
        "recipient": canary, "occurred_at": NOW.isoformat(), "record_type": "family",
        "record_id": f"F {canary}", "record_name": "Canary Person", "provider": "postal",
        "record_url": f"https://crm.example/?who={canary}", "provider_message_id": f"p-{canary}",
        "preview_url": "https://mail.example/Canary", "subject": "Dear Canary Person",
        "text": "Dear Canary Person", "url": "https://acme.example/canary", "ip": "192.0.2.77",
        "user_agent": "Canary/1.0", "campaign": f"for {canary}", "tags": [canary, "spring"],
        "diagnostic": "Canary Person is away", "provider_event_id": "canary-event",
    }  # fmt: skip
    yield event
    plain = {**event, "message_id": "plain", "campaign": "spring", "record_id": "812"}
    yield {**plain, "provider_message_id": "p-1"}
    yield {**plain, "kind": "delivery", "recipient": canary.upper()}
    others = {"recipient": "jo@example.com" if channel == "email" else "+447911000001"}
    about = f"it is about {canary.upper()}, who moved"
    yield {
        "channel": channel, "kind": "sent", "tenant_id": tenant, "message_id": "others",
        "occurred_at": NOW.isoformat(), "subject": about, "text": about, "record_type": "family",
        "record_id": "812", **others,
    }  # fmt: skip


def put_rest(client, target, tenants):
    """Write what is in tables that no event fills."""
    rows = defaultdict(list)
    for tenant in tenants:
        for channel, canary in CANARIES.items():
            writings = canaries.email_writings() if channel == "email" else (
                canaries.phone_writings()
            )  # fmt: skip
            rows["suppression_history"].append({
                "tenant_id": tenant, "channel": channel, "address": canary, "occurred_at": NOW,
                "event_id": "e1", "recorded_at": NOW, "change": "added", "rule": "by_hand",
                "since": NOW, "actor": "kim", "reason": f"Canary Person wrote: {canary}",
                "message_id": f"own-{canary}", "cause_event_id": "c1",
            })  # fmt: skip
            rows["suppression_history"].append({
                "tenant_id": tenant, "channel": channel, "address": "jo@example.com",
                "occurred_at": NOW, "event_id": "e2", "recorded_at": NOW, "change": "added",
                "rule": "by_hand", "since": NOW, "actor": "kim", "reason": f"with {canary}",
            })  # fmt: skip
            for number, text in enumerate(writings):
                rows["audit"].append({
                    "tenant_id": tenant, "occurred_at": NOW, "id": f"{tenant}{channel}{number}",
                    "actor": "kim", "via": "page", "action": "look", "object_type": "address",
                    "object": text, "detail": f"of {text}",
                })  # fmt: skip
                rows["saved_views"].append({
                    "tenant_id": tenant, "owner": "k1", "channel": channel,
                    "name": f"view {number}", "query": f"recipient={text}", "saved_at": NOW,
                    "is_deleted": False,
                })  # fmt: skip
                rows[DEAD_LETTERS.name].append({
                    "source_topic": f"{channel}.sends", "source_partition": 0,
                    "source_offset": 1000 * tenants.index(tenant) + number, "element": -1,
                    "recorded_at": NOW, "died_at": NOW, "reason": f"not valid: {text}",
                    "raw": f'{{"tenant_id": "{tenant}", "recipient": "{text}" '.encode(),
                    "headers": {"x": text},
                })  # fmt: skip
    for name in rows:
        put(client, target, name, *rows[name])


def put(client, target, name, *rows):
    table = tables()[name]
    full = [{column: row.get(column) for column in table.columns} for row in rows]
    insert_rows(
        client, target.database, table, pa.Table.from_pylist(full, schema=arrow_schema(table))
    )


def forgetting(database, channel="email", tenant="t"):
    client, target = database
    return Forgetting(
        client=client, target=target, pseudonyms=Pseudonyms(SECRET),
        address=Address(tenant, channel, CANARIES[channel]),
    )  # fmt: skip


def figures(client, target):
    """Return the figures of all days, and the status of every message without its recipient."""
    daily = [
        client.query(
            f"SELECT * FROM {target.database}.{log.channel}_daily ORDER BY ALL"
        ).result_rows
        for log in projections().values()
    ]
    messages = [
        client.query(
            "SELECT tenant_id, date, status, provider, count() "
            f"FROM {target.database}.{log.name} GROUP BY ALL ORDER BY ALL"
        ).result_rows
        for log in projections().values()
    ]
    return daily, messages


def places_of(client, target, channel):
    """Return where the canary of a channel stands: (table, column), whose it is left aside."""
    return {
        (table, column)
        for node in nodes(client)
        for table, column, value in stored_values(node, target)
        if stands_in(CANARIES[channel], value)
    }


def test_nothing_of_the_person_is_left_in_any_table_and_the_figures_stay(database):
    client, target = database
    fill(client, target, tenants=("t",), every=5 if target.cluster else 1)
    before = figures(client, target)
    found = {table for table, _ in places_of(client, target, "email")}
    assert found >= {
        "events", "raw_records", "email_log_state", "unmatched", "edges", "records",
        "record_names", "suppression_history", "dead_letters", "audit", "saved_views",
    } if not target.cluster else {f"{table}_local" for table in ("events", "edges")}  # fmt: skip
    for channel in CANARIES:
        counts = {each.table: each.rows for each in forgetting(database, channel).run()}
        assert counts["events"] > 50
        assert counts["raw_records"] > 50
    assert places_of(client, target, "email") == set()
    assert places_of(client, target, "sms") == set()
    texts = b"\n".join(
        value for node in nodes(client) for _, _, value in stored_values(node, target)
    )
    for word in (b"Canary", b"192.0.2.77", b"canary-event"):
        assert word not in texts, word
    assert figures(client, target) == before
    assert b"spring" in texts, "what figures go by is left"


def test_another_tenants_same_address_stays_and_to_forget_twice_does_nothing_more(database):
    client, target = database
    fill(client, target)
    kept = rows_of(client, target, "other")
    raw = raw_of(client, target, "other")
    list(forgetting(database).run())
    list(forgetting(database, "sms").run())
    assert rows_of(client, target, "other") == kept
    assert raw_of(client, target, "other") == raw
    after = rows_of(client, target, "t")
    assert not any(each.rows for each in forgetting(database).run())
    assert rows_of(client, target, "t") == after
    for node in nodes(client):
        sql = "SELECT command FROM system.mutations WHERE database = {database:String}"
        commands = node.query(sql, parameters={"database": target.database}).result_rows
        assert commands
        assert not any(stands_in(EMAIL, command.encode()) for (command,) in commands)


def test_a_run_that_breaks_off_is_completed_by_the_next(database, monkeypatch):
    client, target = database
    fill(client, target, tenants=("t",))
    before = figures(client, target)
    run = forgetting(database)
    done = []

    def fail(self, table, change):
        if len(done) == 4:
            raise ConnectionError("the database is away")
        done.append(table)
        return original(self, table, change)

    original = Forgetting._mutate
    monkeypatch.setattr(Forgetting, "_mutate", fail)
    with pytest.raises(ConnectionError):
        list(run.run())
    monkeypatch.setattr(Forgetting, "_mutate", original)
    assert any(each.rows for each in run.run())
    assert places_of(client, target, "email") == set()
    assert figures(client, target) == before


def rows_of(client, target, tenant):
    """Return all rows of a tenant, by table."""
    names = [*tables(), *projections(), "records"]
    with_tenant = [
        name for name in names
        if "tenant_id" in {
            row[0] for row in client.query(f"DESCRIBE {target.database}.{name}").result_rows
        }
    ]  # fmt: skip
    return {
        name: client.query(
            f"SELECT * FROM {target.database}.{name}{'' if name in projections() else ' FINAL'} "
            f"WHERE tenant_id = '{tenant}' ORDER BY ALL"
        ).result_rows
        for name in with_tenant
    }


def raw_of(client, target, tenant):
    partition = {"t": 0, "other": 1}[tenant]
    return [
        client.query(
            f"SELECT {key} FROM {target.database}.{name} WHERE {where} ORDER BY ALL"
        ).result_rows
        for name, key, where in (
            ("raw_records", "topic, offset", f"partition = {partition}"),
            ("dead_letters", "source_topic, source_offset",
             f"intDiv(source_offset, 1000) = {partition}"),
        )
    ]  # fmt: skip


def test_what_is_kept_of_a_person_is_exported_and_nothing_of_others(database):
    client, target = database
    fill(client, target)
    rows = list(PersonRows(target, Address("t", "email", EMAIL)).own_rows(client))
    by_table = {table: [row for name, row in rows if name == table] for table, _ in rows}
    assert set(by_table) == {
        "email_log", "events", "suppressions", "suppression_history", "raw_records", "edges",
        "record_names", "audit", "dead_letters",
    }  # fmt: skip
    assert {row["tenant_id"] for row in by_table["events"]} == {"t"}
    assert EMAIL in {row["recipient"] for row in by_table["events"]} <= {EMAIL, ""}
    assert {row["recipient"] for row in by_table["email_log"]} == {EMAIL}
    assert {row["address"] for row in by_table["suppression_history"]} == {EMAIL}
    shared = [row for row in by_table["raw_records"] if row["is_shared"]]
    assert {(row["value"], len(row["headers"])) for row in shared} <= {("", 0)}
    own = [row for row in by_table["raw_records"] if not row["is_shared"]]
    assert own
    assert all(stands_in(EMAIL, base64.b64decode(row["value"])) for row in own)
    assert {row["partition"] for row in by_table["raw_records"]} == {0}
    list(forgetting(database).run())
    assert not list(PersonRows(target, Address("t", "email", EMAIL)).own_rows(client))


def test_a_person_is_not_forgotten_while_a_log_is_rebuilt_nor_the_other_way_round(database):
    client, target = database
    log = projections()["email_log"]
    run = rebuild.begin(client, target, log)
    with pytest.raises(FatalError, match="is being rebuilt"):
        list(forgetting(database).run())
    run.discard()
    put(client, target, "forgetting", {"run": "r", "scope": "address", "value": EMAIL})
    with pytest.raises(FatalError, match="is being forgotten"):
        rebuild.begin(client, target, log)
    assert not any(each.rows for each in forgetting(database).run())
