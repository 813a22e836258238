"""A message whose provider echoes nothing is one row, whenever its mailer says whose id it is."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from processor.kafka.producer import sync_producer
from projections.clickhouse.ddl import UNFILLED
from tests.system import DATABASE, running, wait_for

NOW = datetime.now(UTC).replace(microsecond=0)
TENANT = "default"


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("identity")) as system:
        system.worker()
        yield system


def at(minutes):
    return (NOW - timedelta(hours=2) + timedelta(minutes=minutes)).isoformat()


def mailer(message_id, minutes, kind="sent", recipient="jo@example.com", **fields):
    event = {
        "channel": "email", "kind": kind, "tenant_id": TENANT, "message_id": message_id,
        "recipient": recipient, "occurred_at": at(minutes), **fields,
    }  # fmt: skip
    if kind == "sent":
        event |= {"subject": "Your invoice", "record_type": "family", "record_id": "F-1"}
    return "email.sends", json.dumps(event).encode()


def ses(provider_id, minutes, kind="Delivery", recipients=("jo@example.com",), *, hard=False):
    """Return what SES says of a message that carries no tags."""
    types = ("Permanent", "General") if hard else ("Transient", "MailboxFull")
    status, text = ("5.1.1", "550 5.1.1 gone") if hard else ("4.2.2", "452 4.2.2 full")
    details = {
        "Delivery": {"timestamp": at(minutes), "recipients": recipients},
        "Bounce": {
            "timestamp": at(minutes), "bounceType": types[0], "bounceSubType": types[1],
            "bouncedRecipients": [
                {"emailAddress": each, "status": status, "diagnosticCode": f"smtp; {text}"}
                for each in recipients
            ],
        },
    }[kind]  # fmt: skip
    value = {
        "eventType": kind, kind.lower(): details,
        "mail": {"timestamp": at(0), "messageId": provider_id, "destination": list(recipients)},
    }  # fmt: skip
    return "email.events.ses", json.dumps(value).encode()


def nameless(recipient, minutes):
    """Return a bounce of SendGrid that has no id at all."""
    seconds = int(datetime.fromisoformat(at(minutes)).timestamp())
    event = {"event": "bounce", "email": recipient, "timestamp": seconds, "status": "4.2.2"}
    return "email.events.sendgrid", json.dumps([event]).encode()


def publish(system, *records):
    """Publish records one after the other: each is written before the next is there."""
    for topic, value in records:
        with sync_producer(system.kafka) as send:
            send(topic, value)
        system.wait_until_committed()


def row_of(system, *ids):
    found = system.rows(
        "SELECT message_id, recipient, status, subject, record_id, attempts "
        f"FROM {DATABASE}.email_log WHERE message_id IN {{ids:Array(String)}} "
        "ORDER BY message_id, recipient", ids=list(ids),
    )  # fmt: skip
    return [tuple(row.values()) for row in found]


def test_an_event_after_its_edge_is_of_the_message(system):
    publish(system, mailer("a", 0, provider_message_id="a-1"), ses("a-1", 5))
    expected = ("a", "jo@example.com", "Delivery", "Your invoice", "F-1", 1)
    assert row_of(system, "a", "a-1") == [expected]


def test_an_event_before_its_edge_is_of_the_message(system):
    publish(system, ses("b-1", 5), mailer("b", 0, provider_message_id="b-1", provider="ses"))
    expected = ("b", "jo@example.com", "Delivery", "Your invoice", "F-1", 1)
    assert row_of(system, "b", "b-1") == [expected]


def test_an_edge_of_its_own_that_comes_an_hour_later_joins_what_came(system):
    publish(
        system, mailer("c", 0), ses("c-1", 5),
        mailer("c", 65, "note", provider_message_id="c-1"),
    )  # fmt: skip
    expected = ("c", "jo@example.com", "Delivery", "Your invoice", "F-1", 1)
    assert row_of(system, "c", "c-1") == [expected]


def test_a_second_attempt_has_another_id_of_the_provider(system):
    publish(
        system, mailer("d", 0, provider_message_id="d-1"), ses("d-1", 5, "Bounce"), ses("d-2", 35),
        mailer("d", 30, attempt=2, provider_message_id="d-2"),
    )  # fmt: skip
    expected = ("d", "jo@example.com", "Delivery", "Your invoice", "F-1", 2)
    assert row_of(system, "d", "d-1", "d-2") == [expected]
    attempts = system.rows(
        f"SELECT DISTINCT kind, attempt FROM {DATABASE}.events WHERE message_id = 'd' "
        "AND kind IN ('bounce', 'delivery') ORDER BY kind"
    )
    assert [tuple(row.values()) for row in attempts] == [("bounce", 1), ("delivery", 2)]
    ids = "message_id IN ('d', 'd-1', 'd-2')"
    retries = system.rows(f"SELECT message_id, attempt FROM {DATABASE}.retries WHERE {ids}")
    assert [tuple(row.values()) for row in retries] in ([], [("d", 2)])


@pytest.mark.parametrize("edge_first", [True, False])
def test_a_hard_bounce_blacklists_once_by_the_message_s_id(system, edge_first):
    name = f"j{int(edge_first)}"
    address = f"{name}@example.com"
    sent = mailer(name, 0, recipient=address, provider_message_id=f"{name}-1")
    bounce = ses(f"{name}-1", 5, "Bounce", [address], hard=True)
    publish(system, *([sent, bounce] if edge_first else [bounce, sent]))
    assert row_of(system, name, f"{name}-1") == [
        (name, address, "Bounce", "Your invoice", "F-1", 1)
    ]
    wait_for(
        lambda: system.value(
            f"SELECT count() FROM {DATABASE}.suppressions WHERE address = '{address}'"
        ) == 1,
        "the address to be blacklisted",
    )  # fmt: skip
    added = system.rows(
        f"SELECT change FROM {DATABASE}.suppression_history FINAL WHERE address = '{address}'"
    )
    assert [row["change"] for row in added] == ["added"]


def test_two_recipients_of_one_id_keep_their_rows(system):
    two = ("ann@example.com", "ben@example.com")
    publish(
        system, ses("e-1", 5, recipients=two[:1]), ses("e-1", 6, "Bounce", two[1:]),
        *(mailer("e", 0, recipient=each, provider_message_id="e-1") for each in two),
    )  # fmt: skip
    assert row_of(system, "e", "e-1") == [
        ("e", two[0], "Delivery", "Your invoice", "F-1", 1),
        ("e", two[1], "Sent", "Your invoice", "F-1", 1),
    ]


def test_a_mailer_that_uses_the_provider_s_id_has_its_row_by_that(system):
    publish(system, mailer("f-1", 0), ses("f-1", 5))
    expected = ("f-1", "jo@example.com", "Delivery", "Your invoice", "F-1", 1)
    assert row_of(system, "f-1") == [expected]


def test_explain_shows_under_which_id_an_event_came(system):
    publish(system, ses("g-1", 5), mailer("g", 0, provider_message_id="g-1"))
    out = system.command("explain", "g", "jo@example.com", "--tenant", TENANT, "--format", "json")
    [delivery] = [fact for fact in json.loads(out)["facts"] if fact["kind"] == "delivery"]
    assert (delivery["other_id"], delivery["provider_message_id"]) == ("g-1", "g-1")
    [edge] = json.loads(out)["edges"]
    assert (edge["message_id"], edge["attempt"], edge["stands"]) == ("g", 1, True)


def test_of_two_messages_that_claim_an_id_the_later_is_shown_as_wrong(system):
    publish(
        system, mailer("h", 0, provider_message_id="h-1"), ses("h-1", 5),
        mailer("i", 1, provider_message_id="h-1"),
    )  # fmt: skip
    assert [row[0:3:2] for row in row_of(system, "h", "i", "h-1")] == [
        ("h", "Delivery"), ("i", "Sent"),
    ]  # fmt: skip
    for message_id in ("h", "i"):
        out = system.command(
            "explain", message_id, "jo@example.com", "--tenant", TENANT, "--format", "json"
        )
        edges = {edge["message_id"]: edge["stands"] for edge in json.loads(out)["edges"]}
        assert edges == {"h": True, "i": False}


def unmatched(system):
    out = system.command("unmatched", "--tenant", TENANT, "--format", "json")
    return [json.loads(line) for line in out.splitlines()]


def test_what_fits_no_message_is_listed_with_why_and_what_it_may_be_of(system):
    people = [f"{name}@example.com" for name in ("kim", "lee")]
    publish(
        system, mailer("k", 0, recipient=people[0]), mailer("l", 0, recipient=people[1]),
        ses("k-1", 5, recipients=people[:1]), nameless(people[1], 6), ses("n-1", 7),
    )  # fmt: skip
    listed = {row["provider_message_id"]: row for row in unmatched(system)}
    assert {"f-1", "k", "l"}.isdisjoint(listed)
    assert (listed["k-1"]["recipient"], listed["k-1"]["near"]) == (people[0], ["k"])
    assert listed["k-1"]["reason"] == "no event says which message the provider's id means"
    assert (listed[""]["reason"], listed[""]["near"]) == ("it names no message", ["l"])
    publish(system, mailer("k", 8, "note", recipient=people[0], provider_message_id="k-1"))
    assert "k-1" not in {row["provider_message_id"] for row in unmatched(system)}


def test_what_was_split_before_becomes_whole_by_a_migration_while_a_worker_runs(system):
    for name in ("edges", "unmatched"):
        system.client.command(f"DROP TABLE {DATABASE}.{name}_fill")
        system.client.command(f"ALTER TABLE {DATABASE}.{name} MODIFY COMMENT '{UNFILLED}'")
    names = [f"s{number}" for number in range(12)]
    split, meanwhile = names[:4], names[4:]
    publish(
        system, *(mailer(each, 0, provider_message_id=f"{each}-1") for each in split),
        *(ses(f"{each}-1", 5) for each in split),
    )  # fmt: skip
    assert len(row_of(system, *split, *(f"{each}-1" for each in split))) == 8
    with ThreadPoolExecutor() as pool:
        migration = pool.submit(system.command, "migrate")
        for each in meanwhile:
            publish(system, ses(f"{each}-1", 5), mailer(each, 0, provider_message_id=f"{each}-1"))
        migration.result()
    assert row_of(system, *names, *(f"{each}-1" for each in names)) == [
        (each, "jo@example.com", "Delivery", "Your invoice", "F-1", 1) for each in sorted(names)
    ]  # fmt: skip
