"""Logs as events with fields: readable on a terminal, JSON for machines."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

#: Libraries that say at info what only a developer of theirs wants to know.
_QUIET = {
    "faust": logging.WARNING,
    "mode": logging.WARNING,
    "aiokafka": logging.CRITICAL,  # processor.kafka.health says once that the broker is away
    "processor.kafka.transport": logging.WARNING,
    "kafka": logging.CRITICAL,
    "clickhouse_connect": logging.ERROR,
    "urllib3": logging.ERROR,
    "asyncio": logging.ERROR,
}


def configure(level: str = "info", form: Literal["auto", "console", "json"] = "auto") -> None:
    """Send structlog's and the standard library's log lines to standard error, in one form.

    `form` auto means console on a terminal and JSON elsewhere.
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if console
        else structlog.processors.JSONRenderer()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _event_first,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else quiet)


def _event_first(
    _logger: object, _method: str, fields: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Put what a reader looks for first in front."""
    front = {name: fields.pop(name) for name in ("timestamp", "level", "event") if name in fields}
    return {**front, **fields}


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
