"""The clients of Kafka within an event loop: aiokafka's, mended where an outage would end them.

uvloop refuses to write to a closed connection with a `RuntimeError`, where asyncio raises the
`OSError` that aiokafka expects. It ends the task which keeps a client's metadata; nothing else
notices, and the client waits for that task for ever. If the broker went away just between two looks
at its connection, a worker went on reading and never committed again (2 of 150 outages).
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError

__all__ = [
    "AIOKafkaAdminClient",
    "AIOKafkaConsumer",
    "AIOKafkaProducer",
    "KafkaError",
    "TopicPartition",
]

_SEND: Final = AIOKafkaConnection.send


def _send(self: Any, request: Any, expect_response: bool = True) -> Any:  # noqa: FBT001, FBT002
    """Send as aiokafka does. Raises `KafkaConnectionError` also if uvloop refuses to."""
    try:
        return _SEND(self, request, expect_response)
    except RuntimeError as error:
        self.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
        raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken") from error


AIOKafkaConnection.send = _send
