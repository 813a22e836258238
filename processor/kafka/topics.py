"""The Kafka topics: their names and configuration; created and checked with kafka-python."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import AuthorizationError, KafkaError, TopicAlreadyExistsError

from processor.kafka.connection import BrokerError, sync_options, unreachable_error
from processor.settings import KafkaSettings
from schemas.events import Channel
from schemas.providers import adapters

DEAD_LETTERS_TOPIC: Final = "delivery.dead-letters"
DECISIONS_TOPIC: Final = "delivery.decisions"
COMMANDS_TOPIC: Final = "delivery.commands"
RETRIES_TOPIC: Final = "delivery.retries"
SUPPRESSIONS_TOPIC: Final = "delivery.suppressions"
#: Inputs of the policy, and its address states: an address has the same partition in both.
POLICY_TOPIC: Final = "delivery.policy"
POLICY_STATE_TOPIC: Final = "delivery.policy-state"
KEYED_TOPICS: Final = (POLICY_TOPIC, POLICY_STATE_TOPIC)
#: Topics that mailers share, for message events of any kind of their channel. A mailer with walls
#: has topics of its own: these names, a dot and its own.
MAILER_CHANNELS: Final[Mapping[str, Channel]] = {"email.sends": "email", "sms.sends": "sms"}
_MAILER_TOPIC: Final = re.compile(r"^((?:email|sms)\.sends)\.([a-z0-9][a-z0-9_-]*)$")
_FEED_TOPIC: Final = re.compile(r"^(email|sms)\.events\.([a-z0-9_-]+)$")

_DAY_MS: Final = 86_400_000
#: Kafka's own default: what is replaced may stay for ever.
_NO_COMPACTION_LAG: Final = 2**63 - 1
_RETAINED: Final = {"cleanup.policy": "delete", "retention.ms": str(30 * _DAY_MS)}
#: What a record replaces, or a tombstone ends, is gone for good so many days later.
MAX_COMPACTION_LAG_DAYS: Final = 7
_COMPACTED: Final = {
    "cleanup.policy": "compact",
    "max.compaction.lag.ms": str(MAX_COMPACTION_LAG_DAYS * _DAY_MS),
}
#: Of the topics of our own: their times are the broker's. What is ordered by them, a reset against
#: a listing, must not depend on the clock of whoever published it. A feed keeps its sender's.
_BROKER_TIME: Final = {"message.timestamp.type": "LogAppendTime"}
#: A state is written for each change, and the topic is read whole: it has to stay short.
_STATE_CONFIG: Final = {
    "segment.bytes": str(32 * 1024 * 1024),
    "segment.ms": str(_DAY_MS // 24),
    "min.cleanable.dirty.ratio": "0.1",
}
#: A record larger than the worker accepts must still arrive, to become a dead letter.
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_LARGE_RECORDS: Final = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
#: Of these settings a topic may have more than is declared; -1 is without a limit.
_AT_LEAST: Final = frozenset({"retention.ms", "max.message.bytes"})
#: Of these a topic may have less.
_AT_MOST: Final = frozenset({"max.compaction.lag.ms"})
#: Settings that have to be as declared. Others only tune a topic.
_CHECKED: Final = _AT_LEAST | _AT_MOST | {"cleanup.policy", "message.timestamp.type"}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and its configuration."""

    name: str
    config: Mapping[str, str] = field(default_factory=dict)


def sends_channel(topic: str) -> Channel | None:
    """Return the channel of a topic of mailers, shared or a mailer's own; None for any other."""
    match = _MAILER_TOPIC.match(topic)
    return MAILER_CHANNELS.get(match[1] if match else topic)


def mailer_of(topic: str) -> str:
    """Return the mailer whose own topic of sends it is, "" for any other topic."""
    match = _MAILER_TOPIC.match(topic)
    return match[2] if match else ""


def mailer_topic(shared: str, mailer: str) -> str:
    """Return a mailer's own topic beside a shared one: of sends, retries or suppressions."""
    return f"{shared}.{mailer}"


def feed_topic(channel: Channel, provider: str) -> str:
    """Return the topic of a provider's raw feed."""
    return f"{channel}.events.{provider}"


def provider_feeds() -> dict[str, str]:
    """Return the topic of each provider's raw feed, by provider."""
    return {name: feed_topic(adapter.CHANNEL, name) for name, adapter in adapters().items()}


def feed_provider(topic: str) -> tuple[str, str] | None:
    """Return the channel and provider of a raw feed's topic, or None for any other topic."""
    match = _FEED_TOPIC.match(topic)
    return (match[1], match[2]) if match else None


def has_adapter(topic: str) -> bool:
    """Tell whether a topic's records can be decoded: events, or the feed of a known provider."""
    feed = feed_provider(topic)
    return feed is None or feed[1] in adapters()


def declared_topics(kafka: KafkaSettings) -> list[Topic]:
    """Return every topic that Sendlog reads or writes."""
    kept, ours = _RETAINED | _LARGE_RECORDS, _BROKER_TIME
    own = {
        **dict.fromkeys(MAILER_CHANNELS, kept),
        RETRIES_TOPIC: _RETAINED | ours,
        SUPPRESSIONS_TOPIC: _COMPACTED | ours,
    }
    return [
        *(Topic(name, kept) for name in MAILER_CHANNELS if kafka.shared_sends),
        *(Topic(name, kept) for name in provider_feeds().values()),
        Topic(COMMANDS_TOPIC, kept | ours),
        Topic(DECISIONS_TOPIC, kept | ours),
        Topic(POLICY_TOPIC, kept | ours),
        Topic(POLICY_STATE_TOPIC, _COMPACTED | _LARGE_RECORDS | ours | _STATE_CONFIG),
        Topic(RETRIES_TOPIC, own[RETRIES_TOPIC]),
        Topic(SUPPRESSIONS_TOPIC, own[SUPPRESSIONS_TOPIC]),
        Topic(DEAD_LETTERS_TOPIC, kept | ours),
        *(
            Topic(mailer_topic(shared, mailer), config)
            for mailer in kafka.mailers for shared, config in own.items()
        ),
    ]  # fmt: skip


@contextmanager
def admin_client(kafka: KafkaSettings) -> Iterator[KafkaAdminClient]:
    """Yield an admin client. Raises `BrokerError` if no broker answers, or it refuses."""
    try:
        client = KafkaAdminClient(**sync_options(kafka))
    except (KafkaError, OSError, ValueError) as error:
        raise unreachable_error(kafka, error) from error
    try:
        yield client
    except AuthorizationError as error:
        raise BrokerError(
            f"Kafka at {kafka.bootstrap} refused: {kafka.user or 'its user'} has no right to this"
            f" ({type(error).__name__}); sendlog topics acls prints what each part needs"
        ) from error
    except KafkaError as error:
        raise BrokerError(f"Kafka at {kafka.bootstrap} refused: {error}") from error
    finally:
        client.close()


def create_missing_topics(kafka: KafkaSettings) -> list[str]:
    """Create the topics that are missing, and return their names. Existing ones stay unchanged.

    Raises `BrokerError`.
    """
    with admin_client(kafka) as client:
        present = set(client.list_topics())
        missing = [topic for topic in declared_topics(kafka) if topic.name not in present]
        created = []
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
                continue  # another process created it meanwhile
            created.append(topic.name)
        return created


def check_topics(kafka: KafkaSettings) -> tuple[list[str], list[str]]:
    """Return the topics that intake should read, and the problems, one line each.

    Intake reads the topics of mailers, commands, decisions, and every raw feed that exists, also of
    providers without an adapter and mailers without a tenant, so that their records become dead
    letters.
    Raises `BrokerError`.
    """
    with admin_client(kafka) as client:
        present = sorted(client.list_topics())
        described = {t["name"]: t for t in client.describe_topics(present)}
    # A broker does not say that there is a topic to whom it gives no right to it.
    hidden = f", or {kafka.user or 'its user'} may not see it" if kafka.logs_in else ""
    problems = [
        f"topic {topic.name} is missing{hidden}: run sendlog topics apply"
        for topic in declared_topics(kafka)
        if topic.name not in described
    ]
    counts = {
        name: len(described[name]["partitions"]) for name in KEYED_TOPICS if name in described
    }
    if len(set(counts.values())) > 1:
        problems.append(
            f"topics {' and '.join(counts)} have {' and '.join(map(str, counts.values()))} "
            "partitions: they must have the same number, for one holds what the other led to"
        )
    reads = [
        *MAILER_CHANNELS,
        COMMANDS_TOPIC,
        DECISIONS_TOPIC,
        *(name for name in present if feed_provider(name) or mailer_of(name)),
    ]
    return [name for name in reads if name in described], problems


def config_problems(kafka: KafkaSettings) -> list[str]:
    """Return which settings of existing topics are wrong, one line each, with what mends it.

    Raises `BrokerError`.
    """
    declared = {topic.name: topic.config for topic in declared_topics(kafka)}
    with admin_client(kafka) as client:
        present = sorted(declared.keys() & set(client.list_topics()))
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, name, sorted(_CHECKED)) for name in present
        ]
        described = client.describe_configs(resources, config_filter="all") if resources else {}
    actual = described.get("topic", {})
    return [
        f"topic {name} has {setting}={value}, not {right}: run kafka-configs.sh --bootstrap-server "
        f"{kafka.bootstrap} --alter --topic {name} --add-config {setting}={right}"
        for name in present
        for setting, right in sorted(declared[name].items()) if setting in _CHECKED
        for value in [actual[name][setting]["value"]] if not _suffices(setting, value, right)
    ]  # fmt: skip


def _suffices(setting: str, value: str, declared: str) -> bool:
    if setting in _AT_LEAST:
        return int(value) == -1 or int(value) >= int(declared)
    if setting in _AT_MOST:
        return int(value) <= int(declared)
    return value == declared


def days_kept(kafka: KafkaSettings) -> dict[str, int | None]:
    """Return for how many days each of our topics keeps what is in it; None: without a limit.

    Of a compacted topic, what was replaced. Raises `BrokerError`.
    """
    declared = {topic.name: topic.config for topic in declared_topics(kafka)}
    with admin_client(kafka) as client:
        present = sorted(declared.keys() & set(client.list_topics()))
        settings = ["retention.ms", "max.compaction.lag.ms"]
        resources = [ConfigResource(ConfigResourceType.TOPIC, name, settings) for name in present]
        described = client.describe_configs(resources, config_filter="all") if resources else {}
    days: dict[str, int | None] = {}
    for name in present:
        is_compacted = declared[name]["cleanup.policy"] == "compact"
        setting = "max.compaction.lag.ms" if is_compacted else "retention.ms"
        value = int(described["topic"][name][setting]["value"])
        days[name] = None if value in {-1, _NO_COMPACTION_LAG} else -(-value // _DAY_MS)
    return days


def partition_counts(kafka: KafkaSettings, names: Iterable[str]) -> dict[str, int]:
    """Return how many partitions each topic has. Raises `BrokerError`."""
    with admin_client(kafka) as client:
        described = client.describe_topics(list(names))
    return {topic["name"]: len(topic["partitions"]) for topic in described}
