"""Programs of the local stack: what each runs, when it is ready, and how it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: Where the packages are, for `python -m` in a child.
ROOT: Final = Path(__file__).resolve().parents[2]
_TETHER: Final = Path(__file__).with_name("tether.py")
#: Seconds between two looks at whether something is ready.
POLL: Final = 0.1


class LocalError(RuntimeError):
    """Something keeps the local stack from starting; the text is one line and says what to do."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """One part of the stack.

    `ready` is asked again and again until it says yes; without it the program is a step that has
    to end well before the next part starts.
    """

    name: str
    command: Sequence[str]
    ready: Callable[[], bool] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    patience: float = 90.0  # seconds to become ready
    grace: float = 20.0  # seconds to end after TERM, before it is killed
    endless: bool = True  # whether it is a failure when it ends well

    def surroundings(self) -> dict[str, str]:
        """Return the environment to run it in."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **self.environment}


def tethered(command: Sequence[str]) -> list[str]:
    """Return the command so that it cannot outlive this process."""
    return [sys.executable, "-IS", str(_TETHER), str(os.getpid()), *command]


def signal_group(leader: int, number: signal.Signals) -> None:
    """Signal a program and whatever it started; nothing happens if it is gone."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        return


class Server:
    """A program that a test starts, kills and starts again. Its output goes to a file."""

    def __init__(self, program: Program, log: Path) -> None:
        self.program = program
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready. Raises `LocalError` with the end of its output."""
        # The kernel ties a child to the thread that started it, and the main one lasts.
        assert threading.current_thread() is threading.main_thread(), "start it in the main thread"
        assert not self.running, f"{self.program.name} runs already"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the stack's own commands
                tethered(self.program.command),
                env=self.program.surroundings(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        deadline = time.monotonic() + self.program.patience
        while not (self.program.ready is None or self.program.ready()):
            if not self.running or time.monotonic() > deadline:
                code = self._process.poll()
                self.kill()
                what = "did not become ready" if code is None else f"ended with exit code {code}"
                end = self.log.read_text(errors="replace")[-2000:]
                raise LocalError(f"{self.program.name} {what}; the end of {self.log}:\n{end}")
            time.sleep(POLL)

    @property
    def returncode(self) -> int | None:
        """The exit code of a process that ended by itself, or None."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it in an orderly way, or by force if it takes too long."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            signal_group(self._process.pid, number)
        try:
            self._process.wait(self.program.grace)
        except subprocess.TimeoutExpired:
            signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
