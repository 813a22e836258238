"""Whether a system holds the laws: what was published is there, once, right, and nothing else.

`Oracle.check_committed` looks at a random moment, `Oracle.check_all` when all faults have ended.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from kafka import TopicPartition
from kafka.errors import KafkaError

from processor.kafka import topics
from processor.kafka.consumers import sync_consumer
from processor.settings import KafkaSettings
from schemas.addresses import Address
from schemas.decisions import RetryRequested, Suppression, retry_id
from tests.faults.expectations import (
    SQL_FACT_KEY,
    SQL_ROW_KEYS,
    Digest,
    Expectation,
)
from tests.faults.load import LIVE_TENANT, live_recipient
from tests.faults.stage import RETRY_DELAY_SECONDS
from tests.system import DATABASE, mismatches

#: Tenants whose facts are compared with one query.
TENANTS_PER_QUERY = 50
#: Records before a committed offset that are compared.
SAMPLE_RECORDS = 200
#: Differences that are shown of each kind; all are counted.
MAX_SHOWN = 5
#: A retry's wait is longer or shorter by at most a tenth.
EARLIEST_MS, LATEST_MS = RETRY_DELAY_SECONDS * 900, RETRY_DELAY_SECONDS * 1100
ODD_TENANT, STAFF_TENANT = "odd", "staff"
#: A fact that a decision makes is in the store, too; and of silent tenants what is joined by now.
PUBLISHED = (
    "source_topic != 'delivery.decisions' AND NOT (tenant_id IN {silent:Array(String)} "
    "AND (kind = 'joined' OR message_id = provider_message_id))"
)


@dataclass
class Findings:
    """What is lost and what is wrong, with some of it in words."""

    lost: int = 0
    wrong: int = 0
    lines: list = field(default_factory=list)

    def add_lost(self, what, missing):
        self._add("lost", what, missing)

    def add_wrong(self, what, differences):
        self._add("wrong", what, differences)

    def _add(self, kind, what, things):
        if things := list(things):
            setattr(self, kind, getattr(self, kind) + len(things))
            shown = "; ".join(map(str, things[:MAX_SHOWN]))
            self.lines.append(f"{kind}: {len(things):,} {what}: {shown}")


class Oracle:
    """Compares a stage with what was published; faults note here what they have published."""

    def __init__(self, stage, publisher):
        self._stage, self._publisher = stage, publisher
        self._expectations = {}
        #: Messages of the tenant `odd`, and whether they must be in the log.
        self.odd_messages = {}
        #: Where records are that must become dead letters, and those that may not.
        self.dead_letters = set()
        self.committed_checks = 0
        self.failed_looks = Counter()
        self.findings = Findings()

    def expectation(self, tenant):
        template = self._publisher.tenants[tenant]
        if id(template) not in self._expectations:
            self._expectations[id(template)] = Expectation(template)
        return self._expectations[id(template)]

    # ---- At a random moment ----------------------------------------------------------------------

    def check_committed(self, dice):
        """Check that what is before a committed offset is written; the servers must answer."""
        with_mailers = list(topics.MAILER_CHANNELS)
        consumer = sync_consumer(
            KafkaSettings(bootstrap=self._stage.broker.bootstrap),
            group_id=self._stage.group,
            request_timeout_ms=20_000,
        )
        try:
            topic = dice.choice(with_mailers)
            partition = dice.choice(sorted(consumer.partitions_for_topic(topic) or {0}))
            place = TopicPartition(topic, partition)
            committed = consumer.committed(place)
            if not committed:
                self.failed_looks["nothing committed"] += 1
                return
            records = _records_before(consumer, place, committed)
        except KafkaError as error:  # nothing can be said of an offset that nobody tells
            self.failed_looks[type(error).__name__] += 1
            return
        finally:
            consumer.close()
        missing = self._unwritten(place, records)
        self.committed_checks += 1
        self.findings.add_lost(f"records before offset {committed} of {topic}/{partition}", missing)

    def _unwritten(self, place, records):
        keys, dead = {}, []
        for record in records:
            try:
                fact = json.loads(record.value)
                key = fact["tenant_id"], fact["message_id"], fact["kind"]
                keys[record.offset] = key
            except (TypeError, ValueError, KeyError):
                dead.append(record.offset)
        found = {
            (row["tenant_id"], row["message_id"], row["kind"])
            for row in self._stage.rows(
                f"SELECT DISTINCT tenant_id, message_id, kind FROM {DATABASE}.events "
                "WHERE tenant_id IN {tenants:Array(String)} AND message_id IN {ids:Array(String)}",
                tenants=sorted({str(key[0]) for key in keys.values()}),
                ids=sorted({str(key[1]) for key in keys.values()}),
            )
        }  # fmt: skip
        letters = {
            row["source_offset"] for row in self._stage.rows(
                f"SELECT source_offset FROM {DATABASE}.dead_letters "
                "WHERE source_topic = {topic:String} AND source_partition = {partition:Int32}",
                topic=place.topic, partition=place.partition,
            )
        }  # fmt: skip
        yield from (offset for offset in dead if offset not in letters)
        yield from (
            offset for offset, key in keys.items() if key not in found and offset not in letters
        )

    # ---- At the end ------------------------------------------------------------------------------

    def check_all(self):
        """Check everything that was published; all of it must be committed."""
        tenants = sorted(self._publisher.tenants)
        for start in range(0, len(tenants), TENANTS_PER_QUERY):
            part = tenants[start : start + TENANTS_PER_QUERY]
            self._check_facts(part)
            for log in SQL_ROW_KEYS:
                self._check_rows(log, part)
        self._check_unmatched()
        self._check_suppressions(tenants)
        self._check_retries(tenants)
        self._check_live()
        self._check_odd()
        self._check_dead_letters()

    def pending_retries(self):
        """Return which retries must be requested and were not yet."""
        requested = {key for key, _ in self._retries()}
        certain = {
            (tenant, *retry) for tenant in self._publisher.tenants
            for retry in self.expectation(tenant).retries
        } | self._live_retries(certain=True)  # fmt: skip
        return certain - requested

    def _check_facts(self, tenants):
        silent = [each for each in tenants if self._publisher.tenants[each].is_silent]
        digests = self._digests(
            "(SELECT DISTINCT tenant_id, message_id, recipient, kind, occurred_at, attempt, part, "
            f"url FROM {DATABASE}.events WHERE {PUBLISHED} "
            "AND tenant_id IN {tenants:Array(String)})",
            SQL_FACT_KEY, tenants, silent=silent,
        )  # fmt: skip
        for tenant in tenants:
            expected = self.expectation(tenant)
            if digests.get(tenant) == expected.facts:
                continue
            keys = {
                row["key"] for row in self._stage.rows(
                    f"SELECT DISTINCT {SQL_FACT_KEY} AS key FROM {DATABASE}.events "
                    f"WHERE {PUBLISHED} AND tenant_id = {{tenant:String}}",
                    tenant=tenant, silent=silent,
                )
            }  # fmt: skip
            self.findings.add_lost(f"facts of {tenant}", expected.fact_keys - keys)
            self.findings.add_wrong(f"facts too many of {tenant}", keys - expected.fact_keys)

    def _check_unmatched(self):
        self.findings.add_lost("joins", [tuple(row.values()) for row in self._stage.rows(
            "SELECT tenant_id, provider_message_id, kind, occurred_at "
            f"FROM {DATABASE}.unmatched FINAL WHERE joined_id = ''"
        )])  # fmt: skip

    def _check_rows(self, log, tenants):
        table = f"(SELECT * FROM {DATABASE}.{log} WHERE tenant_id IN {{tenants:Array(String)}})"
        digests = self._digests(table, SQL_ROW_KEYS[log], tenants)
        conflicts = defaultdict(set)
        reasons = defaultdict(dict)
        for row in self._stage.rows(
            "SELECT tenant_id, message_id, recipient, conflict, status_reason "
            f"FROM {table} WHERE conflict OR positionCaseInsensitive(status_reason, 'opted out')",
            tenants=tenants,
        ):  # fmt: skip
            key = row["message_id"], row["recipient"]
            reasons[row["tenant_id"]][key] = row["status_reason"]
            if row["conflict"]:
                conflicts[row["tenant_id"]].add(key)
        channel = log.removesuffix("_log")
        for tenant in tenants:
            expected = self.expectation(tenant)
            rows = [
                row._replace(tenant_id=tenant)
                for row in self._publisher.tenants[tenant].expected if row.channel == channel
            ]  # fmt: skip
            own = {(row.message_id, row.recipient) for row in rows}
            is_right = (
                digests.get(tenant) == expected.rows[log]
                and expected.conflicts & own <= conflicts[tenant] <= expected.possible_conflicts
                and all(
                    words in reasons[tenant].get(key, "")
                    for key, words in expected.reasons.items() if key in own
                )
            )  # fmt: skip
            if not is_right:
                differences = mismatches(self._stage, rows, tenant=tenant, logs=(log,))
                self.findings.add_wrong(f"rows of {log} of {tenant}", differences)

    def _digests(self, table, key, tenants, **parameters):
        return {
            row["tenant_id"]: Digest(row["n"], row["total"]) for row in self._stage.rows(
                f"SELECT tenant_id, count() AS n, sum(halfMD5({key})) AS total "
                f"FROM {table} GROUP BY tenant_id", tenants=tenants, **parameters,
            )
        }  # fmt: skip

    def _check_suppressions(self, tenants):
        expected = {
            (tenant, *entry) for tenant in tenants
            for entry in self.expectation(tenant).suppressions
        }  # fmt: skip
        in_view = {
            (row["tenant_id"], row["channel"], row["address"], row["rule"])
            for row in self._stage.rows(
                f"SELECT tenant_id, channel, address, rule FROM {DATABASE}.suppressions"
            )
        }
        latest = {
            record.key: record.value for record in self._stage.read(topics.SUPPRESSIONS_TOPIC)
        }
        entries = [Suppression.model_validate_json(value) for value in latest.values() if value]
        on_topic = {(each.tenant_id, each.channel, each.address, each.rule) for each in entries}
        for where, actual in (("view", in_view), ("topic", on_topic)):
            ours = {entry for entry in actual if entry[0] not in {ODD_TENANT, STAFF_TENANT}}
            self.findings.add_wrong(f"addresses spared in the {where}", expected - actual)
            self.findings.add_wrong(f"addresses blacklisted in the {where}", ours - expected)

    def _retries(self):
        """Yield what each requested retry is of, with its record."""
        for record in self._stage.read(topics.RETRIES_TOPIC):
            retry = RetryRequested.model_validate_json(record.value)
            message_id, attempt = self._meant_by(retry)
            yield (retry.tenant_id, message_id, retry.recipient, attempt), (
                retry, record.timestamp,
            )  # fmt: skip

    def _meant_by(self, retry):
        """Return the message and attempt that a retry is of.

        By a provider's id it is of the attempt that this stands for: the second is the one after.
        """
        if retry.tenant_id in self._publisher.tenants:
            known = self.expectation(retry.tenant_id).attempts.get(retry.message_id)
            if known:
                return known.message_id, known.attempt + retry.attempt - 1
        return retry.message_id, retry.attempt

    def _check_retries(self, tenants):
        certain, possible = self._live_retries(certain=True), self._live_retries(certain=False)
        for tenant in tenants:
            expected = self.expectation(tenant)
            certain |= {(tenant, *retry) for retry in expected.retries}
            possible |= {(tenant, *retry) for retry in expected.possible_retries}
        possible |= certain
        counts, ids, vain, early, misnamed = Counter(), Counter(), [], [], []
        for key, (retry, published_ms) in self._retries():
            counts[key] += 1
            ids[retry.id] += 1
            # Whose attempt is not known by then may have one too many.
            is_named = retry.message_id == key[1]
            if (key if is_named else (*key[:3], 2)) not in possible:
                vain.append(key)
            if published_ms < retry.due_at.timestamp() * 1000:
                early.append(key)
            address = Address(retry.tenant_id, retry.channel, retry.recipient)
            if retry.id != retry_id(address, retry.message_id, retry.attempt):
                misnamed.append(key)
        findings = self.findings
        findings.add_wrong("retries not requested", certain - counts.keys())
        findings.add_wrong("retries in vain", vain)
        findings.add_wrong("retries requested again", [k for k, n in counts.items() if n > 1])
        findings.add_wrong("ids of retries used again", [k for k, n in ids.items() if n > 1])
        findings.add_wrong("retries before they are due", early)
        findings.add_wrong("retries with another id", misnamed)

    def _live_retries(self, *, certain):
        """Return the retries of live messages that must be, or may be, requested.

        A delivery that was in Kafka well before the retry fell due must prevent it.
        """
        live = self._publisher.live
        never = float("inf")
        return {
            (LIVE_TENANT, message_id, live_recipient(message_id), 2)
            for message_id, bounced_ms in live.bounced_ms.items()
            if live.delivered_ms.get(message_id, never) > (
                never - 1 if certain else bounced_ms + EARLIEST_MS - 1000
            )
        }  # fmt: skip

    def _check_live(self):
        live = self._publisher.live
        rows = {
            row["message_id"]: (row["status"], row["soft_bounce_count"])
            for row in self._stage.rows(
                f"SELECT message_id, status, soft_bounce_count FROM {DATABASE}.email_log "
                "WHERE tenant_id = {tenant:String}", tenant=LIVE_TENANT,
            )
        }  # fmt: skip
        expected = {
            message_id: ("Delivery" if message_id in live.delivered_ms else "Sent", 1)
            for message_id in live.bounced_ms
        }
        self._compare("live messages", expected, rows)
        due = {
            row["message_id"]: row["due_ms"] for row in self._stage.rows(
                "SELECT message_id, toUnixTimestamp64Milli(assumeNotNull(due_at)) AS due_ms "
                f"FROM {DATABASE}.retries WHERE tenant_id = {{tenant:String}} AND due_at > 0",
                tenant=LIVE_TENANT,
            )
        }  # fmt: skip
        late = {
            message_id: due_ms - live.bounced_ms[message_id] for message_id, due_ms in due.items()
            if not EARLIEST_MS <= due_ms - live.bounced_ms[message_id] <= LATEST_MS
        }  # fmt: skip
        self.findings.add_wrong("live retries due at another time", late.items())

    def _check_odd(self):
        rows = {
            row["message_id"]: row["status"] for row in self._stage.rows(
                f"SELECT message_id, status FROM {DATABASE}.email_log "
                "WHERE tenant_id = {tenant:String}", tenant=ODD_TENANT,
            )
        }  # fmt: skip
        published = {key: "Sent" for key, is_published in self.odd_messages.items() if is_published}
        self._compare("odd messages", published, rows)

    def _compare(self, what, expected, rows):
        self.findings.add_lost(what, expected.keys() - rows.keys())
        self.findings.add_wrong(f"{what} too many", rows.keys() - expected.keys())
        self.findings.add_wrong(
            what, [(k, rows[k], v) for k, v in expected.items() if rows.get(k, v) != v]
        )

    def _check_dead_letters(self):
        rows = {
            (row["source_topic"], row["source_partition"], row["source_offset"]): row["reason"]
            for row in self._stage.rows(
                "SELECT source_topic, source_partition, source_offset, reason "
                f"FROM {DATABASE}.dead_letters"
            )
        }
        self.findings.add_lost("dead letters", self.dead_letters - rows.keys())
        self.findings.add_wrong(
            "dead letters of good records",
            [(k, reason) for k, reason in rows.items() if k not in self.dead_letters],
        )


def _records_before(consumer, place, end):
    """Return the records right before an offset."""
    consumer.assign([place])
    consumer.seek(place, max(0, end - SAMPLE_RECORDS))
    records = []
    for _ in range(50):
        if consumer.position(place) >= end:
            break
        for fetched in consumer.poll(200).values():
            records += [record for record in fetched if record.offset < end]
    return records
