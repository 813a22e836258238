"""There is one place where consumers are made, so that each reads committed records only."""

from __future__ import annotations

import re
from pathlib import Path

import processor
from processor.kafka import consumers

CONSTRUCTORS = re.compile(r"\b(AIOKafkaConsumer|KafkaConsumer)\(")


def test_no_other_module_makes_a_consumer():
    root = Path(processor.__file__).parent
    makers = [path for path in root.rglob("*.py") if CONSTRUCTORS.search(path.read_text("utf-8"))]
    assert makers == [Path(consumers.__file__)]
