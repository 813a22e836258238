"""A connection that the loop has closed is an error of Kafka, whatever the loop calls it."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from processor.kafka import patches


def reset(_reader, writer):
    """Let the peer's end break, rather than end."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()


async def send_after_the_connection_broke():
    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        connection = AIOKafkaConnection(*server.sockets[0].getsockname())
        connection._reader, connection._writer = await asyncio.open_connection(
            connection.host, connection.port
        )
        connection._versions = {3: (0, 5)}
        # Its read, in which it would notice, is yet to come.
        connection._read_task = asyncio.create_task(asyncio.Event().wait())
        while connection._reader.exception() is None:
            await asyncio.sleep(0)
        assert connection.connected()
        with pytest.raises(KafkaError, match="broken"):
            connection.send(MetadataRequest([]))
        assert not connection.connected()


def test_uvloops_refusal_to_write_is_an_error_of_kafka():
    patches.apply()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send_after_the_connection_broke())
