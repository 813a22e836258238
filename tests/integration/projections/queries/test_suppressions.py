"""The blacklist's questions, on the real engine with rows inserted by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.queries import retries, suppressions
from projections.queries.listing import QueryError
from schemas.addresses import Address
from tests.clickhouse import connect_to

NOW = datetime.now(UTC).replace(microsecond=0)
ANN = Address("acme", "email", "ann@example.com")
BOB = Address("acme", "email", "bob@example.com")


class Blacklist:
    """A database with the tables, and rows to put into it."""

    def __init__(self, fresh):
        self.client = connect_to(fresh.url)
        self.database = fresh.name
        self.written = 0
        for _ in migrate(self.client, Target(fresh.name)):
            pass

    def put(self, table, *rows):
        # Of one piece; columns that no row has are left to their defaults.
        names = list(rows[0])
        values = [[row[name] for name in names] for row in rows]
        self.client.insert(table, values, column_names=names, database=self.database)

    def line(self, whose, change, rule="hard_bounce", *, at=NOW, **fields):
        """Put a line of history."""
        self.written += 1
        self.put("suppression_history", {
            **whose._asdict(), "occurred_at": at, "recorded_at": at, "change": change,
            "rule": rule, "since": at, "event_id": f"{self.written:032x}", "actor": "sendlog",
            **fields,
        })  # fmt: skip

    def fact(self, whose, kind, message_id, *, at=NOW, **fields):
        """Put a fact into the event store."""
        self.written += 1
        self.put("events", {
            "tenant_id": whose.tenant_id, "channel": whose.channel, "recipient": whose.address,
            "kind": kind, "message_id": message_id, "occurred_at": at, "recorded_at": at,
            "event_id": f"{self.written:032x}", "attempt": 1, **fields,
        })  # fmt: skip

    def listed(self, tenant="acme", **asked):
        return suppressions.list_entries(self.client, self.database, tenant, **asked)

    def addresses(self, tenant="acme", **asked):
        return [row["address"] for row in self.listed(tenant, **asked)]

    def entry(self, whose):
        return suppressions.find_entry(self.client, self.database, whose)

    def retries(self, **asked):
        found = retries.list_retries(self.client, self.database, "acme", **asked)
        return [(row["message_id"], row["attempt"], row["state"]) for row in found]


@pytest.fixture
def put(fresh_database):
    return Blacklist(fresh_database)


def test_an_entry_says_why_since_when_and_how_many_messages_were_refused_since(put) -> None:
    since = NOW - timedelta(days=2)
    put.line(ANN, "added", at=since, reason="550 5.1.1", message_id="m1", cause_event_id="f1")
    refused = {"label": "sendlog", "at": since + timedelta(hours=1)}
    put.fact(ANN, "invalid", "m2", **refused)
    put.fact(ANN, "invalid", "m2", **refused, attempt=2)
    put.fact(ANN, "invalid", "m3", **refused)
    # Not ours; before it was listed; another address; another tenant's.
    put.fact(ANN, "invalid", "m4", at=NOW, provider="ses")
    put.fact(ANN, "invalid", "m5", at=since - timedelta(days=1), label="sendlog")
    put.fact(BOB, "invalid", "m6", **refused)
    put.fact(ANN._replace(tenant_id="rival"), "invalid", "m7", **refused)
    row = put.entry(ANN)
    assert {name: row[name] for name in ("rule", "reason", "message_id", "since", "until")} == {
        "rule": "hard_bounce", "reason": "550 5.1.1", "message_id": "m1", "since": since,
        "until": None,
    }  # fmt: skip
    assert row["refused_since"] == 2
    assert put.entry(BOB) is None


def test_refused_texts_count_too(put) -> None:
    whose = Address("acme", "sms", "+442079460018")
    put.line(whose, "added", "opt_out", at=NOW - timedelta(hours=2))
    put.fact(whose, "opt_out", "s1", label="sendlog")
    put.fact(whose, "failed", "s2", label="sendlog")
    assert put.entry(whose)["refused_since"] == 2


def test_a_tenant_sees_only_its_own(put) -> None:
    put.line(ANN, "added")
    theirs = ANN._replace(tenant_id="rival")
    put.line(theirs, "added", "complaint")
    put.line(theirs, "reset", "complaint", at=NOW + timedelta(seconds=1), cause_event_id="c1")
    assert put.addresses() == ["ann@example.com"]
    assert put.addresses("rival") == put.addresses("nobody") == []
    assert put.entry(theirs) is None
    history = suppressions.entry_history(put.client, put.database, ANN)
    assert [line["rule"] for line in history] == ["hard_bounce"]
    assert suppressions.command_outcomes(put.client, put.database, [(ANN, "c1")]) == {}
    assert list(suppressions.export_entries(put.client, put.database, "rival")) == []


def test_a_list_is_filtered_by_channel_rule_and_part_of_the_address(put) -> None:
    number = Address("acme", "sms", "+442079460018")
    put.line(ANN, "added", "hard_bounce", at=NOW - timedelta(days=1))
    put.line(ANN, "extended", "complaint")
    put.line(BOB, "added", "by_hand")
    put.line(number, "added", "opt_out")
    assert put.addresses() == [ANN.address, BOB.address, number.address]
    assert put.addresses(channel="sms") == [number.address]
    # Not only the strongest rule counts.
    assert put.addresses(rule="hard_bounce") == [ANN.address]
    assert put.listed(rule="hard_bounce")[0]["rule"] == "complaint"
    assert put.addresses(address=" BOB@") == [BOB.address]
    assert put.addresses(address="b%") == put.addresses(address="_") == []
    with pytest.raises(QueryError, match="no rule 'spite'; there are: unsubscribe"):
        put.listed(rule="spite")


def test_pages_follow_each_other_without_a_gap(put) -> None:
    whom = [
        Address("acme", channel, name)
        for channel in ("email", "sms")
        for name in ("a", "b", "c")
    ]  # fmt: skip
    for whose in whom:
        put.line(whose, "added")
    seen, after = [], None
    while page := put.listed(limit=2, after=after):
        seen += [(row["channel"], row["address"]) for row in page]
        after = seen[-1]
    assert seen == [(each.channel, each.address) for each in whom]
    exported = suppressions.export_entries(put.client, put.database, "acme")
    assert [row["address"] for row in exported] == [each.address for each in whom]
    only = suppressions.export_entries(put.client, put.database, "acme", channel="sms")
    assert len(list(only)) == 3


def test_a_page_is_filled_however_few_of_the_addresses_are_still_listed(put) -> None:
    names = [f"a{number:04}@example.com" for number in range(3000)]
    rows = [
        {"tenant_id": "acme", "channel": "email", "address": name, "change": change,
         "occurred_at": NOW - timedelta(hours=hours), "recorded_at": NOW, "rule": "hard_bounce",
         "event_id": f"{change}-{name}", "cause_event_id": ""}
        for number, name in enumerate(names)
        for change, hours in (("added", 2), ("reset", 1))
        if change == "added" or number % 700
    ]  # fmt: skip
    put.put("suppression_history", *rows)
    left = names[::700]
    assert put.addresses(limit=3) == left[:3]
    assert put.addresses(limit=3, after=("email", left[1])) == left[2:]
    assert put.addresses(address="a2", rule="hard_bounce") == left[3:]


def test_history_is_in_order_of_time_and_a_copy_is_no_second_line(put) -> None:
    put.line(ANN, "reset", actor="kim", cause_event_id="c1")
    early = {"at": NOW - timedelta(days=1), "event_id": "f" * 32}
    put.line(ANN, "added", **early)
    put.line(ANN, "added", **early)
    put.line(ANN, "refused", "", at=NOW + timedelta(seconds=1), reason="no", cause_event_id="c2")
    history = suppressions.entry_history(put.client, put.database, ANN)
    assert [line["change"] for line in history] == ["added", "reset", "refused"]
    assert put.entry(ANN) is None


@pytest.mark.parametrize("changes", [("added", "reset"), ("reset", "added")])
@pytest.mark.parametrize("beginning", ["added", "extended"])
def test_of_a_beginning_and_an_end_at_one_time_the_end_counts(put, changes, beginning) -> None:
    for change in changes:  # whichever has the greater id
        put.line(ANN, beginning if change == "added" else change)
    put.line(BOB, "added", at=NOW + timedelta(milliseconds=1))
    put.line(BOB, "reset")
    assert put.entry(ANN) is None
    assert put.addresses() == [BOB.address]


def test_the_outcome_of_a_command_is_the_line_it_led_to(put) -> None:
    put.line(ANN, "reset", "hard_bounce", cause_event_id="c1", actor="kim")
    put.line(ANN, "reset", "by_hand", cause_event_id="c1", actor="kim")
    put.line(BOB, "refused", "", cause_event_id="c2", reason="it is not blacklisted")

    def outcome(whose, name):
        found = suppressions.command_outcomes(put.client, put.database, [(whose, name)]).get(name)
        return found and (found["change"], found["rule"], found["reason"])

    assert outcome(ANN, "c1") == ("reset", "by_hand", "")
    assert outcome(BOB, "c2") == ("refused", "", "it is not blacklisted")
    assert outcome(BOB, "c1") is None
    asked = [(ANN, "c1"), (BOB, "c2"), (BOB, "c3"), (ANN._replace(tenant_id="rival"), "c1")]
    assert set(suppressions.command_outcomes(put.client, put.database, asked)) == {"c1", "c2"}


def test_many_outcomes_are_asked_for_in_several_queries(put) -> None:
    whom = [Address("acme", "email", f"a{number}@example.com") for number in range(450)]
    put.put("suppression_history", *(
        {**whose._asdict(), "occurred_at": NOW, "recorded_at": NOW, "change": "added",
         "rule": "by_hand", "event_id": whose.address, "cause_event_id": f"c-{whose.address}"}
        for whose in whom
    ))  # fmt: skip
    asked = [(whose, f"c-{whose.address}") for whose in whom]
    assert len(suppressions.command_outcomes(put.client, put.database, asked)) == 450


def test_retries_are_listed_those_due_last_first(put) -> None:
    due = NOW + timedelta(hours=1)
    put.fact(ANN, "retry_scheduled", "m1", attempt=2, due_at=due, label="sendlog")
    put.fact(ANN, "retry_scheduled", "m2", attempt=2, due_at=NOW, label="sendlog")
    put.fact(ANN, "note", "m2", attempt=2, label="sendlog", reason_code="retry_asked", due_at=NOW)
    put.fact(ANN, "sent", "m2", attempt=2)
    put.fact(BOB, "retry_exhausted", "m3", attempt=4, at=NOW - timedelta(hours=1), label="sendlog")
    put.fact(BOB._replace(tenant_id="rival"), "retry_exhausted", "m4", attempt=4, label="sendlog")
    assert put.retries() == [("m1", 2, "scheduled"), ("m2", 2, "answered"), ("m3", 4, "exhausted")]
    assert put.retries(state="exhausted") == [("m3", 4, "exhausted")]
    assert put.retries(message_id="m2") == [("m2", 2, "answered")]
    assert put.retries(recipient=BOB.address, limit=5) == [("m3", 4, "exhausted")]
    assert put.retries(limit=1) == [("m1", 2, "scheduled")]
    with pytest.raises(QueryError, match="no state 'late'; there are: scheduled"):
        put.retries(state="late")
