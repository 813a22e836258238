"""Who may do what on a broker that denies by default: the rights of each part of Sendlog, as data.

Idempotent producers need no right beside that to write to their topics, since Kafka 2.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)

from processor.kafka.connection import BrokerError
from processor.kafka.topics import (
    COMMANDS_TOPIC,
    DEAD_LETTERS_TOPIC,
    DECISIONS_TOPIC,
    MAILER_CHANNELS,
    POLICY_STATE_TOPIC,
    POLICY_TOPIC,
    RETRIES_TOPIC,
    SUPPRESSIONS_TOPIC,
    admin_client,
    mailer_topic,
)
from processor.settings import KafkaSettings

#: Kafka's own tool writes such a name otherwise than its protocol.
_ENUM_NAMES: Final = {"DescribeConfigs": "DESCRIBE_CONFIGS"}
#: The group of the reference mailer.
MAILER_GROUP: Final = "sendlog-demo-mailer"
_CLUSTER: Final = "kafka-cluster"
_FEEDS: Final = ("email.events.", "sms.events.")
#: What the names begin with of topics that are one mailer's own.
_OWN_SENDS: Final = tuple(mailer_topic(name, "") for name in MAILER_CHANNELS)
_OWN_OUTPUTS: Final = (mailer_topic(RETRIES_TOPIC, ""), mailer_topic(SUPPRESSIONS_TOPIC, ""))
_INPUTS: Final = (
    *MAILER_CHANNELS, COMMANDS_TOPIC, DECISIONS_TOPIC, POLICY_TOPIC, POLICY_STATE_TOPIC,
    SUPPRESSIONS_TOPIC,
)  # fmt: skip
_OUTPUTS: Final = (
    POLICY_TOPIC, POLICY_STATE_TOPIC, DECISIONS_TOPIC, RETRIES_TOPIC, SUPPRESSIONS_TOPIC,
    DEAD_LETTERS_TOPIC,
)  # fmt: skip


class Right(NamedTuple):
    """Operations on a resource: a topic, group, transactional id or the cluster, by Kafka's names.

    If `prefixed`, on all resources whose name begins so.
    """

    resource: str
    name: str
    operations: Sequence[str]
    prefixed: bool = False


def component_rights(
    kafka: KafkaSettings, mailer_group: str = MAILER_GROUP
) -> Mapping[str, Sequence[Right]]:
    """Return the rights of each component, of mailers and of an operator.

    Mailers are `mailer`, who writes of all tenants, unless the shared topics are closed, and
    `mailer-NAME` for each with topics of its own.
    """
    shared = {"mailer": _mailer_rights("", mailer_group)} if kafka.shared_sends else {}
    own = {
        f"mailer-{name}": _mailer_rights(f".{name}", f"sendlog-mailer-{name}")
        for name in kafka.mailers
    }
    transactions = f"{kafka.group}-policy-"
    return {
        "worker": (
            *(Right("topic", name, ("Read", "DescribeConfigs")) for name in _INPUTS),
            *(
                Right("topic", name, ("Read", "DescribeConfigs"), prefixed=True)
                for name in (*_FEEDS, *_OWN_SENDS)
            ),
            *(Right("topic", name, ("Write", "DescribeConfigs")) for name in _OUTPUTS),
            *(
                Right("topic", name, ("Write", "DescribeConfigs"), prefixed=True)
                for name in _OWN_OUTPUTS
            ),
            Right("group", kafka.group, ("Read",)),
            Right("transactional-id", transactions, ("Write", "Describe"), prefixed=True),
        ),
        "gateway": tuple(Right("topic", name, ("Write",), prefixed=True) for name in _FEEDS),
        "api": (Right("topic", COMMANDS_TOPIC, ("Write",)),),
        **shared,
        **own,
        # Makes topics, grows and checks them, gives rights, publishes files and commands.
        "operator": (
            Right("cluster", _CLUSTER, ("Create", "Alter", "Describe")),
            *(
                Right("topic", name, ("Read", "Write", "Alter", "DescribeConfigs"), prefixed=True)
                for name in ("email.", "sms.", "delivery.")
            ),
            Right("group", kafka.group, ("Read", "Describe")),
            Right("transactional-id", transactions, ("Write", "Describe"), prefixed=True),
        ),
    }


def _mailer_rights(suffix: str, group: str) -> Sequence[Right]:
    """Return the rights of a mailer, whose topics end so: its sends, retries and blacklist."""
    return (
        *(Right("topic", name + suffix, ("Write",)) for name in MAILER_CHANNELS),
        Right("topic", RETRIES_TOPIC + suffix, ("Read",)),
        Right("topic", SUPPRESSIONS_TOPIC + suffix, ("Read",)),
        Right("group", group, ("Read",)),
    )


def acl_commands(kafka: KafkaSettings, rights: Iterable[tuple[str, Right]]) -> Iterator[str]:
    """Yield the commands of Kafka's own tool that give rights to principals."""
    for principal, right in rights:
        operations = " ".join(f"--operation {name}" for name in right.operations)
        pattern = "prefixed" if right.prefixed else "literal"
        resource = f"--{right.resource} {right.name} --resource-pattern-type {pattern}"
        yield (
            f"kafka-acls.sh --bootstrap-server {kafka.bootstrap} --add --allow-principal"
            f" '{principal}' {operations} {'--cluster' if right.name == _CLUSTER else resource}"
        )


def apply_acls(kafka: KafkaSettings, rights: Iterable[tuple[str, Right]]) -> None:
    """Give rights to principals, also those that they have. Raises `BrokerError`.

    Nothing is taken away.
    """
    acls = [acl for principal, right in rights for acl in _acls(principal, right)]
    with admin_client(kafka) as client:
        failed = client.create_acls(acls)["failed"]
    if failed:
        raise BrokerError(f"Kafka at {kafka.bootstrap} gave no rights: {failed[0].__name__}")


def _acls(principal: str, right: Right) -> Iterator[ACL]:
    pattern = ResourcePattern(
        ResourceType[right.resource.upper().replace("-", "_")],
        right.name,
        ACLResourcePatternType.PREFIXED if right.prefixed else ACLResourcePatternType.LITERAL,
    )
    for name in right.operations:
        operation = ACLOperation[_ENUM_NAMES.get(name, name.upper())]
        yield ACL(principal, "*", operation, ACLPermissionType.ALLOW, pattern)
