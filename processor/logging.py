"""Logging of events with fields: readable on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

#: The lowest level that is logged of a library.
_LIBRARY_LEVELS = {
    "faust": logging.WARNING,
    "mode": logging.WARNING,
    "aiokafka": logging.CRITICAL,  # processor.kafka.health logs once that the broker is away
    "processor.kafka.transport": logging.WARNING,
    "mail.log": logging.WARNING,  # aiosmtpd, whose lines have addresses
    "kafka": logging.CRITICAL,
    "clickhouse_connect": logging.ERROR,
    "urllib3": logging.ERROR,
    "asyncio": logging.ERROR,
}
#: At the level debug these have passwords and tokens: requests byte by byte, settings of clients.
_LOGIN_LIBRARIES = frozenset({"aiokafka", "kafka"})


def configure(level: str = "info", form: Literal["auto", "console", "json"] = "auto") -> None:
    """Send the log lines of structlog and the standard library to standard error, in one form.

    `form` auto means console on a terminal and JSON elsewhere.
    """
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
    handler.setFormatter(_formatter(form, shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name, library_level in _LIBRARY_LEVELS.items():
        debug_level = logging.INFO if name in _LOGIN_LIBRARIES else logging.DEBUG
        logging.getLogger(name).setLevel(debug_level if level == "debug" else library_level)


def _formatter(
    form: str, shared: list[structlog.typing.Processor]
) -> structlog.stdlib.ProcessorFormatter:
    is_console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if is_console
        else structlog.processors.JSONRenderer()
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _event_first,
            renderer,
        ],
    )


def _event_first(
    _logger: object, _method: str, fields: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Put the fields that a reader needs first in front."""
    front = {name: fields.pop(name) for name in ("timestamp", "level", "event") if name in fields}
    return {**front, **fields}


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
