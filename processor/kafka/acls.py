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
)
from processor.settings import KafkaSettings

#: Kafka's own tool writes such a name otherwise than its protocol.
_ENUM_NAMES: Final = {"DescribeConfigs": "DESCRIBE_CONFIGS"}
#: The group of the reference mailer.
MAILER_GROUP: Final = "sendlog-demo-mailer"
_CLUSTER: Final = "kafka-cluster"
_FEEDS: Final = ("email.events.", "sms.events.")
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
    """Return the rights of each component, and of a mailer and an operator."""
    transactions = f"{kafka.group}-policy-"
    return {
        "worker": (
            *(Right("topic", name, ("Read", "DescribeConfigs")) for name in _INPUTS),
            *(Right("topic", name, ("Read", "DescribeConfigs"), prefixed=True) for name in _FEEDS),
            *(Right("topic", name, ("Write", "DescribeConfigs")) for name in _OUTPUTS),
            Right("group", kafka.group, ("Read",)),
            Right("transactional-id", transactions, ("Write", "Describe"), prefixed=True),
        ),
        "gateway": tuple(Right("topic", name, ("Write",), prefixed=True) for name in _FEEDS),
        "api": (Right("topic", COMMANDS_TOPIC, ("Write",)),),
        "mailer": (
            *(Right("topic", name, ("Write",)) for name in MAILER_CHANNELS),
            Right("topic", RETRIES_TOPIC, ("Read",)),
            Right("topic", SUPPRESSIONS_TOPIC, ("Read",)),
            Right("group", mailer_group, ("Read",)),
        ),
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
