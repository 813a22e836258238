"""A mailer's connection: it publishes events, keeps the blacklist, and obeys requests to send."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from kafka import KafkaConsumer, OffsetAndMetadata
from kafka.errors import CommitFailedError

from processor.client.blacklist import READ_TIMEOUT_MS, Blacklist, BlacklistReader
from processor.client.connection import connected_consumer, topic_of, whole_topic
from processor.client.events import MailerEvent, mailer_record
from processor.client.requests import (
    MadeRetries,
    MakeAttempt,
    RecentIds,
    RequestInbox,
    refusal_events,
)
from processor.kafka.producer import SyncProducer, sync_producer
from processor.kafka.topics import RETRIES_TOPIC, SUPPRESSIONS_TOPIC
from processor.logging import get
from schemas.addresses import NumberRegions

if TYPE_CHECKING:
    from processor.settings import KafkaSettings

log = get(__name__)

DEFAULT_CLIENT_ID: Final = "sendlog-client"
#: Requests that are fetched at once: each is committed by itself.
MAX_POLL_REQUESTS: Final = 50


class MailerClient:
    """What a mailer has to do with Sendlog. Made by `mailer_client`; for one thread."""

    def __init__(
        self,
        *,
        producer: SyncProducer,
        reader: BlacklistReader,
        blacklist: Blacklist,
        requests: KafkaConsumer,
        inbox: RequestInbox,
        mailer: str = "",
    ) -> None:
        self.blacklist = blacklist
        self._mailer = mailer
        self._producer, self._reader = producer, reader
        self._requests, self._inbox = requests, inbox

    def publish(self, *events: MailerEvent) -> None:
        """Publish events; `flush` waits until the broker has them. Raises `BrokerError`."""
        for event in events:
            topic, key, value = mailer_record(event, self._mailer)
            self._producer(topic, value, key=key)

    def flush(self) -> None:
        """Wait until the broker has what was published. Raises `BrokerError`."""
        self._producer.flush()

    def read_blacklist(self) -> Blacklist:
        """Read what has come of the blacklist, all of it the first time, and return it."""
        self._reader.poll(0 if self.blacklist.is_ready else READ_TIMEOUT_MS)
        while not self.blacklist.is_ready:
            self._reader.poll()
        return self.blacklist

    def run(self, make_attempt: MakeAttempt, stop: Event) -> None:
        """Obey requests until `stop` is set; see `step`."""
        while not stop.is_set():
            self.step(make_attempt)

    def step(self, make_attempt: MakeAttempt) -> int:
        """Read the blacklist, obey the requests that are there, and return how many were made.

        Nothing is sent to a blacklisted address: a person who asks for it is answered why.

        A request is committed when `make_attempt` has returned and the broker has the events of
        it: after a crash in between it comes again, with the same id. If `make_attempt` raises,
        so does this, and the next step begins with that request.
        """
        self.read_blacklist()
        fetched = self._requests.poll(timeout_ms=READ_TIMEOUT_MS, max_records=MAX_POLL_REQUESTS)
        made = 0
        pending = {place: records[0].offset for place, records in fetched.items()}
        try:
            for place, records in fetched.items():
                for record in records:
                    made += self._obey(record.value, make_attempt)
                    pending[place] = record.offset + 1
                    self._commit(place, record.offset + 1)
        except BaseException:
            for place, offset in pending.items():
                self._requests.seek(place, offset)
            raise
        return made

    def _obey(self, value: bytes | None, make_attempt: MakeAttempt) -> bool:
        request = self._inbox.open(value)
        if request is None:
            return False
        is_refused = self._inbox.is_refused(request)
        self.publish(
            *(refusal_events(request, datetime.now(UTC)) if is_refused else make_attempt(request))
        )
        self.flush()
        if not is_refused:
            self._inbox.close(request)
        log.debug("retry", id=request.id, made=not is_refused)
        return not is_refused

    def _commit(self, place: Any, offset: int) -> None:
        try:
            self._requests.commit({place: OffsetAndMetadata(offset, "", -1)})
        except CommitFailedError:
            # Another member of the group has the partition, and the request comes to it again.
            log.warning("retry_not_committed", partition=place.partition, offset=offset)


@contextmanager
def mailer_client(
    kafka: KafkaSettings,
    *,
    group: str,
    mailer: str = "",
    tenants: Container[str] | None = None,
    made: MadeRetries | None = None,
    regions: NumberRegions | None = None,
    client_id: str = DEFAULT_CLIENT_ID,
) -> Iterator[MailerClient]:
    """Yield a client of the broker; at the end all that was published is there.

    `group` is the mailer's consumer group: its processes share the requests. `mailer` is its name
    if it has topics of its own (`SENDLOG_KAFKA__MAILERS`), its group `sendlog-mailer-NAME` then.
    `tenants` are those whose messages it sends (None: of all), `made` has the ids of the requests
    that were obeyed, by default only as long as the process lives, `regions` the countries of
    numbers without one.

    Raises `BrokerError` if no broker answers, refuses, or lacks a topic; `TlsFileError`.
    """
    blacklist = Blacklist(regions)
    retries, suppressions = (topic_of(name, mailer) for name in (RETRIES_TOPIC, SUPPRESSIONS_TOPIC))
    with (
        sync_producer(kafka) as producer,
        whole_topic(kafka, suppressions, client_id) as entries,
    ):
        requests = connected_consumer(kafka, group_id=group, client_id=client_id)
        try:
            requests.subscribe([retries])
            yield MailerClient(
                producer=producer, reader=BlacklistReader(blacklist, entries), blacklist=blacklist,
                requests=requests,
                inbox=RequestInbox(blacklist, RecentIds() if made is None else made, tenants),
                mailer=mailer,
            )  # fmt: skip
        finally:
            requests.close()
