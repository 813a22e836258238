"""Every example query for analysts runs on a history, and says what Python counts in the log."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest

from processor.demo.traffic import Pace, messages
from processor.intake.decoder import Decoder
from processor.settings import IntakeSettings
from projections.clickhouse.ddl import Target
from projections.clickhouse.sql import stream
from projections.clickhouse.store import insert_rows
from projections.tables.events import TABLE as EVENTS
from tests.api import Api, complete_events, empty_api
from tests.benchmarks.load import load
from tests.chunks import chunk_of
from tests.conftest import connected
from tests.paths import ROOT

FOLDER = ROOT / "deploy/clickhouse"
EXAMPLES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("examples/*.sql"))}
TENANT = "studio"
NOW = datetime.now(UTC).replace(microsecond=0)
START, END = NOW - timedelta(days=40), NOW - timedelta(days=2)
#: From here on is asked: some of the history is before.
SINCE = START + timedelta(days=12, hours=5)
#: Messages of the studio, and of the others.
OURS, THEIRS = 900, 60_000
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass
class Record:
    """A record of the demo, as a Kafka client gives it."""

    topic: str
    offset: int
    value: bytes
    headers: tuple
    timestamp: int
    partition: int = 0


@dataclass
class Past:
    """A database with a history: of the studio, of a twin of it, and of many others."""

    client: object
    name: str

    def ask(self, name, tenant=TENANT):
        values = {"tenant": tenant, "since": SINCE}
        return list(stream(self.client, EXAMPLES[name], values))

    def rows(self, table, where="true", tenant=TENANT):
        sql = f"SELECT * FROM {table} WHERE tenant_id = {{t:String}} AND ({where})"
        return list(stream(self.client, sql, {"t": tenant}))

    def since(self, log):
        return [row for row in self.rows(log) if row["date"] >= SINCE]


@pytest.fixture(scope="module")
def past(engine):
    name = f"test_{uuid.uuid4().hex}"
    with connected(engine.url) as admin:
        admin.command(f"CREATE DATABASE {name} ENGINE = Atomic")
        api = empty_api(engine.url, name)
        client = api.connect()
        for tenant, seed in ((TENANT, 7), ("twin", 8)):
            demo(client, name, tenant, seed)
            api.add_events(retried(tenant) + silent(tenant))
            blacklist(api, tenant)
        for _ in load(admin, Target(name), THEIRS, end=NOW):
            pass
        yield Past(client, name)
        admin.command(f"DROP DATABASE {name} SYNC")


def demo(client, database, tenant, seed):
    """Write the history of a business, as its providers and mailers tell it."""
    pace = Pace((END - START).total_seconds() / (OURS + 150), 1, END)
    topics = defaultdict(list)
    for message in islice(messages(seed, START, tenant=tenant, pace=pace), OURS):
        for topic, _, value, headers, timestamp in message.records:
            topics[topic].append(Record(topic, len(topics[topic]), value, headers, timestamp))
    for records in topics.values():
        batch = Decoder(IntakeSettings(), max_record_bytes=1_000_000)(chunk_of(records))
        assert not batch.rejections
        insert_rows(client, database, EVENTS, batch.events)
        if records[0].topic == "email.sends":  # a redelivery
            insert_rows(client, database, EVENTS, batch.events)


def retried(tenant):
    """Return facts of messages that were retried: once, twice, in vain, and needlessly."""
    stories = {
        "once": [("soft", 1), ("asked", 2), ("sent", 2), ("delivery", 2)],
        "twice": [("soft", 1), ("asked", 2), ("sent", 2), ("soft", 2), ("asked", 3), ("sent", 3),
                  ("delivery", 3)],
        "late": [("soft", 1), ("asked", 2)],
        "needless": [("soft", 1), ("scheduled", 2), ("delivery", 1), ("cancelled", 2)],
    }  # fmt: skip
    what = {
        "soft": {"kind": "bounce", "bounce_class": "soft", "enhanced_status": "4.2.2"},
        "sent": {"kind": "sent"}, "delivery": {"kind": "delivery"},
        "scheduled": {"kind": "retry_scheduled"},
        "asked": {"kind": "note", "label": "sendlog", "reason_code": "retry_asked"},
        "cancelled": {"kind": "note", "label": "sendlog", "reason_code": "retry_cancelled"},
    }  # fmt: skip
    facts = []
    for number in range(12):
        for name, story in stories.items():
            at = SINCE + number * DAY + 5 * HOUR
            steps = [("sent", 1), *story]
            for place, (step, attempt) in enumerate(steps):
                happened = at + place * HOUR
                facts.append({
                    "channel": "email", "occurred_at": happened, "recorded_at": happened,
                    "message_id": f"{name}-{number}", "recipient": f"{name}@retry.example",
                    "attempt": attempt, "provider": "ses", **what[step],
                })  # fmt: skip
    return complete_events(facts, tenant)


def silent(tenant):
    """Return facts of messages that were sent a day ago, but for four hours."""
    return complete_events([
        {"channel": "email", "kind": "sent", "occurred_at": NOW - hours * HOUR, "recorded_at": NOW,
         "message_id": f"{hours} hours ago", "recipient": "silent@example.com", "subject": "Hm"}
        for hours in (20, 28)
    ], tenant)  # fmt: skip


#: Lines of the history of the blacklist: address, rule, days after the start, change.
LINES = [
    ("a", "hard_bounce", 14, "added"), ("a", "hard_bounce", 15, "reset"),
    ("a", "hard_bounce", 16, "added"), ("a", "complaint", 16, "added"),
    ("b", "hard_bounce", 15, "added"), ("b", "hard_bounce", 16, "refused"),
    ("c", "soft_bounces", 14, "added"), ("c", "soft_bounces", 20, "extended"),
    ("c", "soft_bounces", 35, "expired"), ("d", "unsubscribe", 22, "added"),
    ("d", "unsubscribe", 23, "resubscribed"), ("e", "soft_bounces", 21, "added"),
    ("e", "soft_bounces", 22, "extended"), ("e", "soft_bounces", 23, "reset"),
    ("f", "hard_bounce", 3, "added"), ("f", "hard_bounce", 30, "reset"),
]  # fmt: skip


def blacklist(api: Api, tenant):
    for address, rule, days, change in LINES:
        at = START + days * DAY
        api.add_history_row(
            tenant, f"{address}@example.com", change, rule=rule, occurred_at=at, since=at
        )


def monday(moment):
    return moment.date() - timedelta(days=moment.weekday())


def domain(row):
    return row["recipient"].rpartition("@")[2]


def quantile(values, level):
    """Return what ClickHouse calls the exact quantile."""
    return sorted(values)[int(level * len(values))]


def percent(part, whole, of=100):
    return round(of * part / whole, 2) if whole else None


def seconds(rows):
    """Return how long deliveries took that were reported."""
    return [
        (row["delivered_at"] - row["sent_at"]).total_seconds() for row in rows
        if row["sent_at"] and row["delivered_at"] and row["delivered_at"] >= row["sent_at"]
        and not row["delivered_inferred"]
    ]  # fmt: skip


def grouped(rows, key):
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def bounce_rate_by_domain(past):
    wanted = [row for row in past.since("email_log")
              if row["status"] not in {"Invalid", "Skipped"} and row["provider"]]  # fmt: skip
    for name, rows in grouped(wanted, domain).items():
        classes = Counter(row["bounce_class"] for row in rows if row["status"] == "Bounce")
        yield {"domain": name, "messages": len(rows), "bounced": classes.total(),
               "hard": classes["hard"], "blocked": classes["block"], "gave_up": classes["soft"],
               "percent": percent(classes.total(), len(rows))}  # fmt: skip


def opens_by_hour(past):
    found = past.rows("events FINAL", "channel = 'email' AND kind = 'open'")
    opens = {row["event_id"]: row for row in found
             if row["occurred_at"] >= SINCE and not row["machine"]}  # fmt: skip
    by_message = grouped(opens.values(), lambda row: (row["message_id"], row["recipient"]))
    firsts = Counter(min(row["occurred_at"] for row in rows).hour for rows in by_message.values())
    for hour, number in Counter(row["occurred_at"].hour for row in opens.values()).items():
        yield {"hour": hour, "opens": number, "first_opens": firsts[hour],
               "percent": percent(number, len(opens))}  # fmt: skip


def slowest_domains(past):
    for name, rows in grouped(past.since("email_log"), domain).items():
        if len(taken := seconds(rows)) >= 5:
            yield {"domain": name, "deliveries": len(taken), "median_s": quantile(taken, 0.5),
                   "p95_s": quantile(taken, 0.95), "longest_s": max(taken)}  # fmt: skip


def retry_success(past):
    """Count by hand, from the facts of each message."""
    facts = past.rows("events FINAL", "channel = 'email'")
    dated = {(row["message_id"], row["recipient"]) for row in past.since("email_log")}
    counts = defaultdict(Counter)
    for key, story in grouped(facts, lambda row: (row["message_id"], row["recipient"])).items():
        sent = {f["attempt"]: f["occurred_at"] for f in story if f["kind"] == "sent"}
        arrived = [f["occurred_at"] for f in story if f["kind"] in {"delivery", "open", "click"}]
        about = {
            f["attempt"] for f in story
            if f["kind"] in {"retry_scheduled", "retry_exhausted"} or f["label"] == "sendlog"
        } | {attempt for attempt in sent if attempt > 1}  # fmt: skip
        for attempt in about if key in dated else ():
            codes = {f["reason_code"] for f in story
                     if f["attempt"] == attempt and f["label"] == "sendlog"}  # fmt: skip
            last = sent.get(attempt + 1, NOW + DAY)
            counts[attempt] += Counter({
                "retries": 1, "asked": "retry_asked" in codes, "answered": attempt in sent,
                "delivered": bool(arrived) and sent.get(attempt, last) <= min(arrived) < last,
                "cancelled": "retry_cancelled" in codes,
                "exhausted": any(f["kind"] == "retry_exhausted" and f["attempt"] == attempt
                                 for f in story),
            })  # fmt: skip
    for attempt, count in counts.items():
        names = ("retries", "asked", "answered", "delivered", "cancelled", "exhausted")
        yield {"attempt": attempt, **{name: count[name] for name in names},
               "percent_delivered": percent(count["delivered"], count["answered"])}  # fmt: skip


def weekly_funnel(past):
    for week, rows in grouped(past.since("email_log"), lambda row: monday(row["date"])).items():
        sent, delivered, opened, clicked = (
            sum(any(row[name] for name in names) for row in rows)
            for names in (("sent_at", "delivered_at"), ("delivered_at",), ("opened_at",),
                          ("clicked_at",))
        )  # fmt: skip
        yield {"week": week, "messages": len(rows), "sent": sent, "delivered": delivered,
               "opened": opened, "clicked": clicked, "percent_delivered": percent(delivered, sent),
               "percent_opened": percent(opened, delivered),
               "percent_clicked": percent(clicked, opened)}  # fmt: skip


def machine_opens(past):
    for provider, rows in grouped(past.since("email_log"), lambda row: row["provider"]).items():
        touched = [(bool(row["machine_opened_at"]), bool(row["opened_at"])) for row in rows]
        touched = Counter(each for each in touched if any(each))
        if touched:
            machine = touched[True, False]
            yield {"provider": provider, "messages": touched.total(), "machine": machine,
                   "people": touched[False, True], "both": touched[True, True],
                   "percent_machine": percent(machine, touched.total())}  # fmt: skip


def bounce_reasons(past):
    bounced = [row for row in past.since("email_log") if row["status"] == "Bounce"]
    names = ("bounce_class", "enhanced_status", "smtp_code")
    for key, rows in grouped(bounced, lambda row: tuple(row[name] for name in names)).items():
        yield {**dict(zip(names, key, strict=True)), "messages": len(rows),
               "addresses": len({row["recipient"] for row in rows}),
               "percent": percent(len(rows), len(bounced)),
               "example": min(row["status_reason"] for row in rows)}  # fmt: skip


def silent_messages(past):
    shown = ("provider", "recipient", "message_id", "subject", "sent_at", "last_event_at",
             "status_reason")  # fmt: skip
    for row in past.since("email_log"):
        # Nothing of the history is so near to a day old that the minutes of this test matter.
        quiet = row["last_event_at"] <= NOW - DAY
        if row["status"] == "Sent" and row["sent_at"] and quiet and not row["next_retry_at"]:
            yield {name: row[name] for name in shown}


def providers_compared(past):
    failed = {"email": {"Bounce", "Invalid"}, "sms": {"Rejected", "Undelivered", "Failed"}}
    for channel, bad in failed.items():
        rows = [row for row in past.since(f"{channel}_log") if row["provider"]]
        for provider, theirs in grouped(rows, lambda row: row["provider"]).items():
            arrived = sum(
                row["status"] in {"Delivered", "Received"} if channel == "sms"
                else bool(row["delivered_at"]) and row["status"] != "Bounce" for row in theirs
            )  # fmt: skip
            taken = seconds(theirs)
            complained = sum(bool(row.get("complained_at")) for row in theirs)
            yield {
                "channel": channel, "provider": provider, "messages": len(theirs),
                "percent_delivered": percent(arrived, len(theirs)),
                "percent_failed": percent(sum(r["status"] in bad for r in theirs), len(theirs)),
                "complaints": percent(complained, arrived, of=1000),
                "median_s": quantile(taken, 0.5), "p95_s": quantile(taken, 0.95),
            }  # fmt: skip


def blacklist_growth(past):
    counts = defaultdict(Counter)
    for lines in grouped(LINES, lambda line: line[:2]).values():
        told = [line for line in lines if line[3] not in {"refused", "extended"}]
        for (_, rule, days, change), following in pairwise([*told, None]):
            at = START + days * DAY
            if change == "added" and at >= SINCE:
                end = following[3] if following else "stand"
                end = end if end in {"reset", "stand"} else "ended"
                counts[monday(at), rule] += Counter({"added": 1, end: 1})
    for (week, rule), count in counts.items():
        names = ("added", "reset", "ended", "stand")
        yield {"week": week, "rule": rule, **{name: count[name] for name in names},
               "percent_reset": percent(count["reset"], count["added"])}  # fmt: skip


#: What each example must say, counted in another way.
COUNTED = {
    each.__name__: each
    for each in (
        bounce_rate_by_domain, opens_by_hour, slowest_domains, retry_success, weekly_funnel,
        machine_opens, bounce_reasons, silent_messages, providers_compared, blacklist_growth,
    )
}  # fmt: skip


def comparable(rows, names):
    shown = [{name: row[name] for name in names} for row in rows]
    return sorted(shown, key=lambda row: [str(value) for value in row.values()])


def test_there_are_ten_examples_and_each_is_counted_in_another_way():
    assert sorted(EXAMPLES) == sorted(COUNTED)
    assert len(EXAMPLES) == 10


@pytest.mark.parametrize("name", COUNTED)
def test_an_example_says_what_python_counts(past, name):
    expected = list(COUNTED[name](past))
    found = past.ask(name)
    names = list(expected[0])
    assert comparable(found, names) == comparable(expected, names)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_of_one_tenant_whose_rows_alone_are_read(past, name):
    assert past.ask(name, "nobody") == []
    values = {"tenant": TENANT, "since": SINCE}
    read = defaultdict(int)
    for row in stream(past.client, f"EXPLAIN ESTIMATE {EXAMPLES[name]}", values):
        read[row["table"]] += row["rows"]
    for table in ("events", "email_log_state", "sms_log_state"):
        total = past.client.query(f"SELECT count() FROM {table}").result_rows[0][0]
        assert read.pop(table, 0) < total / 2, table
    assert set(read) <= {"suppression_history"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_says_what_it_answers_and_the_page_lists_it(name):
    question, *reading = EXAMPLES[name].split("\n\n")[0].splitlines()
    question = question.removeprefix("-- ")
    assert question.endswith("?")
    assert len([line for line in reading if line.startswith("-- ")]) >= 2
    page = (FOLDER / "README.md").read_text()
    assert f"[{name}](examples/{name}.sql) | {question} |" in page


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_the_daily_figures_are_those_of_the_log(past, channel):
    counted = Counter(
        (row["date"].date(), row["provider"], row["status"]) for row in past.rows(f"{channel}_log")
    )
    found = past.rows(f"{channel}_daily")
    assert {(r["day"], r["provider"], r["status"]): r["messages"] for r in found} == counted
    assert len(found) == len(counted) > 20


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_the_daily_figures_of_a_tenant_are_read_of_its_rows_alone(past, channel):
    sql = f"EXPLAIN ESTIMATE SELECT * FROM {channel}_daily WHERE tenant_id = 'tenant-1'"
    [plan] = list(stream(past.client, sql, {}))
    total = past.client.query(f"SELECT count() FROM {channel}_log_state").result_rows[0][0]
    assert plan["table"] == f"{channel}_log_state"
    assert 0 < plan["rows"] < total / 2
