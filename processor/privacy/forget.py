"""A person forgotten everywhere: the tables, the policy and its topics; with a receipt.

The steps, each of which may be repeated:

1. begin the receipt, by which workers know whom to hide from now on;
2. have the policy forget the address, which leaves tombstones, and why its pseudonym is refused;
3. remove the person from the tables;
4. wait until what workers had in hand is written, and remove that, too;
5. end the receipt.

A run that breaks off is completed by the next.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from processor.clickhouse import client_of, target_of
from processor.intake.forgotten import POLL_INTERVAL_SECONDS
from processor.intake.policy_feed import Forget, forget_record
from processor.kafka.producer import sync_producer
from processor.kafka.topics import POLICY_TOPIC, partition_counts
from projections.clickhouse.forget import Forgetting, ForgottenRows
from projections.clickhouse.person import stored_addresses
from projections.clickhouse.sql import stream
from projections.clickhouse.store import arrow_schema, insert_rows
from projections.tables.forgotten import TABLE
from schemas.errors import ExplainedError
from schemas.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    from processor.settings import Settings
    from schemas.addresses import Address

#: Workers have learnt of it by then, and written what they had in hand, unless they are behind.
SETTLE_SECONDS: Final = 10 * POLL_INTERVAL_SECONDS
#: How often late rows are looked for, at most.
MAX_ROUNDS: Final = 5


class PrivacyError(ExplainedError):
    """Nobody can be forgotten; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """That an address was forgotten, without the address: rows by table, when, and by whom."""

    tenant_id: str
    channel: str
    pseudonym: str
    began_at: datetime
    actor: str
    secret_check: str
    ended_at: datetime | None = None
    counts: dict[str, int]

    def row(self) -> dict[str, Any]:
        """Return the receipt as a row of its table."""
        fields = {name: getattr(self, name) for name in TABLE.columns}
        return fields | {"counts": json.dumps(self.counts)}


class Forgetter:
    """Forgets people by the settings. Raises `PrivacyError`, `BrokerError`, ClickHouse's errors."""

    def __init__(self, settings: Settings, *, settle_seconds: float = SETTLE_SECONDS) -> None:
        secret = settings.privacy.secret.get_secret_value()
        if not secret:
            raise PrivacyError(
                "people are forgotten by a secret: set SENDLOG_PRIVACY__SECRET_FILE, for the "
                "workers, too, and restart them"
            )
        self._settings, self._settle_seconds = settings, settle_seconds
        self._pseudonyms = Pseudonyms(secret)
        self._client, self._target = client_of(settings), target_of(settings)

    def preview(self, address: Address) -> list[ForgottenRows]:
        """Return how many rows of each table would be changed; change nothing."""
        return list(self._run(address).preview())

    def addresses_of(self, tenant: str, pseudonyms: Container[str]) -> Sequence[Address]:
        """Return the addresses of a tenant that pseudonyms stand for, as far as they are stored.

        After an old backup was restored: who was forgotten since is there again.
        """
        return [
            address for address in stored_addresses(self._client, self._target.database, tenant)
            if self._pseudonyms.of(address) in pseudonyms
        ]  # fmt: skip

    def forget(self, address: Address, actor: str, on_step: Callable[[str], None]) -> Receipt:
        """Forget an address; `on_step` hears what is done."""
        self._check_secret()
        run = self._run(address)
        receipt = Receipt(
            tenant_id=address.tenant_id, channel=address.channel, pseudonym=run.pseudonym,
            began_at=datetime.now(UTC), actor=actor, secret_check=self._pseudonyms.check, counts={},
        )  # fmt: skip
        self._store(receipt)
        counts: Counter[str] = Counter()
        for number in range(MAX_ROUNDS):
            on_step("forgetting what the policy keeps")
            self._ask_policy(address, run.pseudonym)
            on_step("removing what the tables hold" if not number else "looking for late rows")
            rows = {each.table: each.rows for each in run.run()}
            counts.update(rows)
            if number and not any(rows.values()):
                break
            on_step("waiting for what workers have in hand")
            time.sleep(self._settle_seconds)
        receipt = replace(receipt, ended_at=datetime.now(UTC), counts=dict(counts))
        self._store(receipt)
        return receipt

    def _run(self, address: Address) -> Forgetting:
        return Forgetting(
            client=self._client, target=self._target, pseudonyms=self._pseudonyms, address=address
        )

    def _check_secret(self) -> None:
        sql = f"SELECT DISTINCT secret_check FROM {self._target.database}.{TABLE.name}"
        if any(row["secret_check"] != self._pseudonyms.check for row in self._rows(sql)):
            raise PrivacyError(
                "people were forgotten by another SENDLOG_PRIVACY__SECRET: by this one they would "
                "not be known any more"
            )

    def _rows(self, sql: str) -> Iterator[dict[str, Any]]:
        return stream(self._client, sql, {})

    def _store(self, receipt: Receipt) -> None:
        rows = pa.Table.from_pylist([receipt.row()], schema=arrow_schema(TABLE))
        insert_rows(self._client, self._target.database, TABLE, rows)

    def _ask_policy(self, address: Address, pseudonym: str) -> None:
        if not self._settings.policy:
            return
        [partitions] = partition_counts(self._settings.kafka, [POLICY_TOPIC]).values()
        forget = Forget(**address._asdict(), pseudonym=pseudonym)
        record = forget_record(forget, partitions)
        assert record.value is not None
        with sync_producer(self._settings.kafka) as send:
            send(record.topic, record.value, partition=record.partition)
