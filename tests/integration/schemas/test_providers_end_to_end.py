"""Every example of every provider, over the real gateway, Kafka and a worker, ends in its row."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import timedelta
from itertools import groupby

import pytest

from processor.gateway import handshakes
from processor.kafka import topics
from projections.status import fold_message, read_row
from projections.tables import projections
from schemas.events import EPOCH, milliseconds
from schemas.identity import Edge, identity_of_event, is_unmatched, joined_fields
from schemas.providers import TENANT_HEADER, adapters, decode
from tests.gateway_process import GatewayProcess, hooks_of, webhook
from tests.paths import PAYLOADS
from tests.signing import sign
from tests.system import DATABASE, running, wait_for

CASES = [json.loads(path.read_text("utf-8")) for path in sorted(PAYLOADS.glob("*/*.json"))]
KEY = ("tenant_id", "recipient", "message_id")
#: The address's tenant of an account that several tenants share.
SHARED = "agency"
#: What no example of a provider has: broken in ways that only a batch's other elements survive.
BROKEN = {
    "sendgrid": b'[{"event": "nobody knows"}, {"event": 7}]',
    "postmark": b'{"RecordType": "Nobody"}',
    "twilio": b"MessageSid=SM1&MessageStatus=nobody",
    "vonage": b"not a receipt",
    "mandrill": b"mandrill_events=[{}]",
    "brevo": b"\xff\x00",
}


def sent_as(case, tenant):
    """Return the signed webhook by which a provider would send an example."""
    provider, payload = case["provider"], case["payload"]
    headers = dict(case["headers"])
    query = headers.pop("x-callback-query", "").removeprefix("?")
    if case["transport"] == "query":
        query = "&".join(filter(None, [payload.removeprefix("?"), query]))
        return sign(
            provider,
            webhook(provider, method="GET", query=query, headers=headers, tenant=tenant),
        )
    return sign(
        provider, webhook(provider, payload.encode(), query=query, headers=headers, tenant=tenant)
    )


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("providers")) as system:
        yield system


@pytest.fixture(scope="module")
def gateway(system):
    hooks = hooks_of(adapters())
    for n, case in enumerate(CASES):  # a tenant for each: examples share their messages' ids
        hooks |= hooks_of([case["provider"]], f"case-{n}")
        if case["provider"] == "mailgun" and not case["payload"].startswith("{"):
            # In a form the signature's time is the event's as well, and that is long ago.
            hooks[f"case-{n}", "mailgun"] = {"unverified": True}
    for fields in hooks_of(["sendgrid"], SHARED).values():
        hooks[SHARED, "sendgrid"] = {**fields, "several_tenants": True}
    with GatewayProcess(system.broker.bootstrap, system.folder, hooks) as server:
        wait_for(lambda: server.status("/readyz") == 200, "the gateway to be ready")
        yield server


def records_of(system):
    """Return all records of the feeds."""
    declared = topics.declared_topics(system.kafka)
    feeds = [topic.name for topic in declared if topics.feed_provider(topic.name)]
    return [record for feed in feeds for record in system.read(feed)]


@pytest.fixture(scope="module")
def sent(system, gateway):
    """Send every example and what is broken; return the webhooks once a worker has done all."""
    webhooks = [(case["provider"], sent_as(case, f"case-{n}")) for n, case in enumerate(CASES)]
    webhooks += [(name, sign(name, webhook(name, body))) for name, body in BROKEN.items()]
    with gateway.client() as send:
        refused = [
            (provider, status, problem)
            for provider, ready in webhooks
            for status, _, problem in [send(ready)]
            if status != 200
        ]
    assert refused == []
    system.worker(SENDLOG_POLICY="false")  # what the adapters say, before anything is decided
    system.wait_until_committed()
    return webhooks


@pytest.fixture(scope="module")
def adapted(system, sent):
    """Return what the adapters say of the records in Kafka: events, and what they reject."""
    events, rejected = [], Counter()
    for record in records_of(system):
        provider = topics.feed_provider(record.topic)[1]
        headers = {name: value.decode() for name, value in record.headers}
        decoded = decode(adapters()[provider], record.value, headers, record.timestamp, "nobody")
        recorded = {"recorded_at": EPOCH + timedelta(milliseconds=record.timestamp)}
        events += [(headers[TENANT_HEADER], {**event, **recorded}) for event in decoded.events]
        for part in decoded.rejected:
            place = -1 if part.element is None else part.element
            rejected[record.topic, record.offset, record.partition, place, part.reason] += 1
    return events, rejected


@pytest.fixture(scope="module")
def matched(adapted):
    """Return the events, those under a provider's id as of the message that another explains."""
    edges = defaultdict(list)
    for tenant, event in adapted[0]:
        ours, theirs = event["message_id"], event.get("provider_message_id")
        if ours and theirs and ours != theirs:
            edge = Edge(
                event["provider"], ours, event["recipient"], at_ms(event), event.get("attempt", 1)
            )  # fmt: skip
            edges[tenant, event["channel"], theirs].append(edge)
    events = []
    for tenant, event in adapted[0]:
        provider_id = event.get("provider_message_id", "")
        known = edges[tenant, event["channel"], provider_id] if is_unmatched(event) else ()
        found = identity_of_event(event, known)
        events.append({**event, **joined_fields(event, found)} if found else event)
    return events


def at_ms(event):
    return milliseconds(event["occurred_at"])


def test_every_webhook_is_in_kafka_as_it_was_sent_but_for_handshakes(system, sent):
    expected = Counter()
    for provider, ready in sent:
        body = ready.query.encode() if ready.method == "GET" else ready.body
        if not (provider in handshakes.SNS_PROVIDERS and b"Confirmation" in body):
            expected[topics.feed_topic(adapters()[provider].CHANNEL, provider), body] += 1
    published = Counter((record.topic, record.value) for record in records_of(system))
    assert published - expected == Counter()
    # Pings and empty batches are answered by the gateway, and hold no event.
    missing = expected - published
    assert all(b"msys" in value or b"mandrill_events" in value for _, value in missing)
    assert sum(missing.values()) < 5


def test_every_example_gives_its_events_under_the_addresses_tenant(system, adapted, matched):
    events, _ = adapted
    assert [event["tenant_id"] for _, event in events] == [tenant for tenant, _ in events]
    names = ("event_id", "tenant_id", "channel", "kind", "message_id", "recipient", "occurred_at")
    rows = system.rows(
        f"SELECT {', '.join(names)} FROM {DATABASE}.events FINAL WHERE kind != 'joined'"
    )
    stored, came, joined = (
        {tuple(event[name] for name in names) for event in each}
        for each in (rows, (event for _, event in events), matched)
    )
    assert joined <= stored <= came | joined
    expected = Counter(
        (case["provider"], event["kind"]) for case in CASES for event in case["expected"]
    )
    assert Counter((event["provider"], event["kind"]) for _, event in events) == expected


@pytest.mark.parametrize("log", projections().values(), ids=projections())
def test_every_row_is_what_the_adapters_and_the_rules_make_of_the_examples(system, matched, log):
    of_log = [
        event
        for event in matched
        if event["channel"] == log.channel
        and event["kind"] in log.kinds
        and event["message_id"]
        and event["recipient"]
    ]

    def key_of(event):
        return tuple(event[name] for name in KEY)

    rows = {key_of(row): row for row in system.rows(f"SELECT * FROM {DATABASE}.{log.name}")}
    expected = {}
    for key, group in groupby(sorted(of_log, key=key_of), key=key_of):
        named = dict(zip(KEY, key, strict=True))
        expected[key] = read_row(log, named, fold_message(log, list(group)))
    assert set(rows) == set(expected)
    assert len(rows) > 50
    wrong = [
        (key, name, rows[key][name], value)
        for key, row in expected.items()
        for name, value in row.items()
        if rows[key][name] != value
    ]
    assert wrong == []


def test_what_is_rejected_is_a_dead_letter_with_its_place_and_reason(system, adapted):
    _, rejected = adapted
    rows = system.rows(f"SELECT * FROM {DATABASE}.dead_letters FINAL")
    dead_letters = Counter(
        (
            row["source_topic"], row["source_offset"], row["source_partition"], row["element"],
            row["reason"],
        )
        for row in rows
    )  # fmt: skip
    assert dead_letters == rejected
    assert {topic for topic, *_ in rejected} >= {
        topics.feed_topic(adapters()[name].CHANNEL, name) for name in BROKEN
    }


def test_a_batch_of_a_thousand_with_three_broken_gives_997_events_and_3_dead_letters(
    system, gateway, adapted
):
    broken = {17: {"event": "nobody knows"}, 500: 7, 999: {"event": "open", "timestamp": "x"}}
    batch = [
        broken.get(n, {
            "event": "delivered", "email": f"r{n}@example.com", "timestamp": 1_750_000_000,
            "sg_message_id": f"m{n}.filter", "message_id": f"m{n}",
            **({"tenant_id": "thousand"} if n else {}),
        })
        for n in range(1_000)
    ]  # fmt: skip
    before = system.value(f"SELECT count() FROM {DATABASE}.dead_letters FINAL")
    ready = sign("sendgrid", webhook("sendgrid", json.dumps(batch).encode(), tenant=SHARED))
    assert gateway.send(ready)[0] == 200
    system.wait_until_committed()
    # The account is one that several tenants share: the first event names none.
    for table, condition in (("events FINAL", "1"), ("email_log", "status = 'Delivery'")):
        rows = system.rows(
            f"SELECT tenant_id, countIf({condition}) AS n FROM {DATABASE}.{table} "
            f"WHERE tenant_id IN ('thousand', '{SHARED}') GROUP BY tenant_id"
        )
        assert {row["tenant_id"]: row["n"] for row in rows} == {"thousand": 996, SHARED: 1}
    assert system.value(f"SELECT count() FROM {DATABASE}.dead_letters FINAL") == before + 3
    dead_letters = system.rows(
        f"SELECT element, raw, reason FROM {DATABASE}.dead_letters FINAL "
        "WHERE element IN (17, 500, 999) ORDER BY element"
    )
    assert [row["element"] for row in dead_letters] == [17, 500, 999]
    assert all(row["reason"] for row in dead_letters)
    raws = [json.loads(row["raw"]) for row in dead_letters]
    assert raws == [broken[17], broken[500], broken[999]]
