"""The states of a partition, and which of its addresses wakes next."""

from __future__ import annotations

from datetime import timedelta

from processor.policy.decisions import SoftBounced
from processor.policy.evolve import evolve
from processor.policy.state import AddressState
from processor.policy.state_store import PartitionStates
from schemas.addresses import Address
from tests.address_life import START

JO, LI = Address("acme", "email", "jo@example.com"), Address("acme", "email", "li@example.com")


BOUNCE = SoftBounced(
    event_id="b-1", message_id="m-1", attempt=1, at=START, first_at=START, reason="", counts=True
)
STATE = evolve(AddressState(), BOUNCE)


def keep(partition, address, wakes_at):
    partition.keep([partition.to_record(address, STATE, wakes_at)])


def test_of_an_address_that_changes_often_only_the_last_wake_is_kept():
    partition = PartitionStates(0, publisher=None)
    keep(partition, LI, START + timedelta(days=2))
    for second in range(30_000):
        keep(partition, JO, START + timedelta(days=1, seconds=second))
    assert len(partition._wakes) < 15_000
    assert partition.take_due(START + timedelta(days=1, seconds=29_998), 10) == []
    assert partition.take_due(START + timedelta(days=1, seconds=29_999), 10) == [JO]
    assert partition.take_due(START + timedelta(days=3), 10) == [LI]
