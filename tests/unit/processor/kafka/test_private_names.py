"""A library that lacks a name we rely on is refused at the start, with that name."""

from __future__ import annotations

import pytest
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from structlog.testing import capture_logs

from processor.kafka import patches, private_names, transport
from processor.kafka.private_names import LibraryError, check_library, missing_names

TABLES = {"aiokafka": patches._RELIED_ON, "faust-streaming": transport.RELIED_ON}


@pytest.mark.parametrize("library", TABLES)
def test_the_installed_libraries_have_all_names(library):
    assert missing_names(TABLES[library]) == []


@pytest.mark.parametrize(
    ("library", "owner", "name"),
    [
        ("aiokafka", FetchResult, "_update_position"),
        ("faust-streaming", AIOKafkaConsumerThread, "_fetch_records"),
    ],
)
def test_a_method_that_is_gone_is_named(monkeypatch, library, owner, name):
    monkeypatch.delattr(owner, name)
    for method in [each for each in vars(owner).values() if hasattr(each, "__code__")]:
        renamed = tuple("renamed" if each == name else each for each in method.__code__.co_names)
        monkeypatch.setattr(method, "__code__", method.__code__.replace(co_names=renamed))
    with pytest.raises(LibraryError, match=rf"^{library} \S+ has no {owner.__name__}\.{name}: "):
        check_library(library, TABLES[library])


def test_an_attribute_of_objects_that_is_gone_is_named():
    class Coordinator:
        def __init__(self):
            self.generation = -1
            self._pulse_task = None

    names = patches._RELIED_ON[GroupCoordinator]
    assert missing_names({Coordinator: names}) == [
        f"{Coordinator.__qualname__}.{name}" for name in names if name != "generation"
    ]


def test_a_release_that_was_not_tested_is_worth_a_warning(monkeypatch):
    monkeypatch.setitem(private_names.TESTED_VERSIONS, "aiokafka", "0.0.1")
    with capture_logs() as lines:
        check_library("aiokafka", TABLES["aiokafka"])
    assert [line["event"] for line in lines] == ["library_untested"]
