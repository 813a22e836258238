"""The Kafka topics: which there are, how each is kept, made and checked with kafka-python."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from processor.settings import Kafka
from schemas.errors import ExplainedError
from schemas.events import Channel
from schemas.providers import adapters

DEAD_LETTERS: Final = "delivery.dead-letters"
DECISIONS: Final = "delivery.decisions"
COMMANDS: Final = "delivery.commands"
RETRIES: Final = "delivery.retries"
SUPPRESSIONS: Final = "delivery.suppressions"
#: What the rules are fed, and what they remember: the same address in the same partition of both.
POLICY: Final = "delivery.policy"
STATES: Final = "delivery.policy-state"
KEYED: Final = (POLICY, STATES)
#: Topics of mailers: message events of any kind of their channel.
FACTS: Final[Mapping[str, Channel]] = {"email.sends": "email", "sms.sends": "sms"}
_FEED: Final = re.compile(r"^(email|sms)\.events\.([a-z0-9_-]+)$")

_DAY: Final = 86_400_000
_KEPT: Final = {"retention.ms": str(30 * _DAY)}
_COMPACTED: Final = {"cleanup.policy": "compact"}
#: Written for each change and read whole: kept short.
_OFTEN: Final = _COMPACTED | {
    "segment.bytes": str(32 * 1024 * 1024),
    "segment.ms": str(_DAY // 24),
    "min.cleanable.dirty.ratio": "0.1",
}
#: A record larger than the worker accepts must still arrive, to become a dead letter.
_LARGE: Final = {"max.message.bytes": str(16 * 1024 * 1024)}


class BrokerError(ExplainedError):
    """The broker is away or refuses; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and how it is kept."""

    name: str
    config: Mapping[str, str] = field(default_factory=dict)


def feed_topic(channel: Channel, provider: str) -> str:
    """Return the topic of a provider's raw feed."""
    return f"{channel}.events.{provider}"


def feed_provider(topic: str) -> tuple[str, str] | None:
    """Return channel and provider of a raw feed's topic, or None if it is none."""
    found = _FEED.match(topic)
    return (found[1], found[2]) if found else None


def has_adapter(topic: str) -> bool:
    """Tell whether a topic's records can be read at all: facts, or the feed of a known provider."""
    feed = feed_provider(topic)
    return feed is None or feed[1] in adapters()


def wanted() -> list[Topic]:
    """Return every topic that Sendlog reads or writes."""
    feeds = [feed_topic(a.CHANNEL, a.PROVIDER) for a in adapters().values()]
    return [
        *(Topic(name, _KEPT | _LARGE) for name in [*FACTS, *feeds, COMMANDS, DECISIONS]),
        Topic(POLICY, _KEPT | _LARGE),
        Topic(STATES, _OFTEN),
        Topic(RETRIES, _KEPT),
        Topic(SUPPRESSIONS, _COMPACTED),
        Topic(DEAD_LETTERS, _KEPT | _LARGE),
    ]


@contextmanager
def admin(kafka: Kafka) -> Iterator[KafkaAdminClient]:
    """Give an admin client. Raises `BrokerError` if no broker answers."""
    try:
        client = KafkaAdminClient(bootstrap_servers=kafka.bootstrap.split(","))
    except (KafkaError, OSError, ValueError) as error:
        raise BrokerError(
            f"no Kafka broker answers at {kafka.bootstrap} ({error}); "
            "start one (sendlog up) or set SENDLOG_KAFKA__BOOTSTRAP"
        ) from error
    try:
        yield client
    except KafkaError as error:
        raise BrokerError(f"Kafka at {kafka.bootstrap} refused: {error}") from error
    finally:
        client.close()


def apply(kafka: Kafka) -> list[str]:
    """Create the topics that are missing; return their names. Existing ones are left as they are.

    Raises `BrokerError`.
    """
    with admin(kafka) as client:
        present = set(client.list_topics())
        missing = [topic for topic in wanted() if topic.name not in present]
        made = []
        for topic in missing:
            new = NewTopic(
                name=topic.name,
                num_partitions=kafka.partitions,
                replication_factor=kafka.replication,
                topic_configs=dict(topic.config),
            )
            try:
                client.create_topics([new])
            except TopicAlreadyExistsError:
                continue  # another process made it meanwhile
            made.append(topic.name)
        return made


def check(kafka: Kafka) -> tuple[list[str], list[str]]:
    """Return the topics the worker should read, and what is wrong, a line each.

    To read are the topics of mailers, commands, decisions, and every raw feed there is, also of
    providers without an adapter: those records become dead letters, not silence.
    Raises `BrokerError`.
    """
    with admin(kafka) as client:
        present = sorted(client.list_topics())
        described = {t["name"]: t for t in client.describe_topics(present)}
    problems = [
        f"topic {topic.name} is missing: run sendlog topics apply"
        for topic in wanted()
        if topic.name not in described
    ]
    counts = {name: len(described[name]["partitions"]) for name in KEYED if name in described}
    if len(set(counts.values())) > 1:
        problems.append(
            f"topics {' and '.join(counts)} have {' and '.join(map(str, counts.values()))} "
            "partitions: they must have the same number, for one holds what the other led to"
        )
    reads = [*FACTS, COMMANDS, DECISIONS, *(name for name in present if feed_provider(name))]
    return [name for name in reads if name in described], problems


def partitions(kafka: Kafka, names: Iterable[str]) -> dict[str, int]:
    """Return how many partitions each topic has. Raises `BrokerError`."""
    with admin(kafka) as client:
        found = client.describe_topics(list(names))
    return {topic["name"]: len(topic["partitions"]) for topic in found}
