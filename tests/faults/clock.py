"""A worker whose clock somebody sets: `python -m tests.faults.clock worker`.

The file that WORKER_CLOCK names says by how many seconds the clock is wrong. Clocks that
nobody can set, as `time.monotonic`, go on.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
import time
from pathlib import Path

import processor.worker  # noqa: F401 - so that all that it uses is there
from processor.cli.main import main

OWN_PACKAGES = {"processor", "projections", "schemas"}
_REAL_TIME, _REAL_DATETIME = time.time, dt.datetime


def lead_seconds():
    try:
        return float(Path(os.environ["WORKER_CLOCK"]).read_text() or 0)
    except FileNotFoundError:
        return 0.0


def set_time():
    return _REAL_TIME() + lead_seconds()


class _RealInstances(type):
    def __instancecheck__(cls, instance):
        return isinstance(instance, _REAL_DATETIME)

    def __subclasscheck__(cls, subclass):
        return issubclass(subclass, _REAL_DATETIME)


class SetDatetime(_REAL_DATETIME, metaclass=_RealInstances):
    """A `datetime` by the clock that is wrong; all others of its instances are real ones."""

    def __new__(cls, *arguments, **named):
        return _REAL_DATETIME(*arguments, **named)

    @classmethod
    def now(cls, tz=None):
        return _REAL_DATETIME.fromtimestamp(set_time(), tz)

    @classmethod
    def utcnow(cls):
        return _REAL_DATETIME.fromtimestamp(set_time(), dt.UTC).replace(tzinfo=None)


def set_clocks():
    """Let all of Sendlog go by the clock that is wrong."""
    time.time = set_time
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in OWN_PACKAGES:
            for attribute, real, wrong in (
                ("time", _REAL_TIME, set_time), ("datetime", _REAL_DATETIME, SetDatetime),
            ):  # fmt: skip
                if vars(module).get(attribute) is real:
                    setattr(module, attribute, wrong)


if __name__ == "__main__":
    set_clocks()
    main()
