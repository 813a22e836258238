"""`sendlog worker`."""

from __future__ import annotations

from processor.settings import load
from processor.worker import run_worker


def run_worker_command() -> None:
    """Run one worker: read the topics, fold, write to ClickHouse.

    Start as many as there are cores to spare, up to the number of partitions; they share the work.
    A worker stops on TERM or Ctrl-C after the write under way. It waits while ClickHouse or Kafka
    is away, and stops with an error if a table is missing.
    """
    run_worker(load())
