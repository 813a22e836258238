"""Starts programs in order, watches them and stops them all in reverse; restarts nothing."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deploy.local.process import POLL, Program, signal_group, tethered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.local.console import Console

_STOP: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class PartError(RuntimeError):
    """A part ended, or did not become ready; the text says which and how."""


@dataclass(frozen=True)
class _Part:
    program: Program
    process: asyncio.subprocess.Process
    copying: asyncio.Task[None]


class Supervisor:
    """Runs one stack; use it once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._parts: list[_Part] = []

    async def run(self, programs: Sequence[Program], when_ready: Callable[[], None]) -> None:
        """Start the programs one after the other, then watch them until a signal to stop.

        Returns after INT, TERM or HUP. Raises `PartError` if a part fails. Either way everything
        has been stopped then; a second signal kills what is still being waited for.
        """
        running = asyncio.create_task(self._run(programs, when_ready))
        loop = asyncio.get_running_loop()
        for number in _STOP:
            loop.add_signal_handler(number, self._stop_or_kill, running)
        try:
            await running
        except asyncio.CancelledError:
            return
        except ExceptionGroup as errors:
            raise (errors.subgroup(PartError) or errors).exceptions[0] from None
        finally:
            await self._stop()
            for number in _STOP:
                loop.remove_signal_handler(number)

    def _stop_or_kill(self, running: asyncio.Task[None]) -> None:
        if running.done():
            for part in self._parts:
                signal_group(part.process.pid, signal.SIGKILL)
        running.cancel()

    async def _run(self, programs: Sequence[Program], when_ready: Callable[[], None]) -> None:
        # The first part to fail ends the group, and so also what is being started just then.
        async with asyncio.TaskGroup() as watchers:
            for program in programs:
                part = await self._start(program)
                if program.ready is None:
                    await self._finish(part)
                else:
                    watchers.create_task(self._watch(part))
                    await self._until_ready(program, program.ready)
            when_ready()
            await asyncio.Event().wait()

    async def _start(self, program: Program) -> _Part:
        self._console.line(program.name, "starting")
        process = await asyncio.create_subprocess_exec(
            *tethered(program.command),
            env=program.surroundings(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            process_group=0,  # Ctrl-C is for the supervisor, which stops the parts in order
        )
        assert process.stdout is not None
        copying = asyncio.create_task(self._console.copy(program.name, process.stdout))
        part = _Part(program, process, copying)
        self._parts.append(part)
        return part

    async def _until_ready(self, program: Program, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + program.patience
        while not await asyncio.to_thread(ready):
            if time.monotonic() > deadline:
                raise PartError(
                    f"{program.name} is not ready after {program.patience:.0f} s; its lines above"
                    " may say why"
                )
            await asyncio.sleep(POLL)
        self._console.line(program.name, "ready")

    async def _finish(self, part: _Part) -> None:
        code = await part.process.wait()
        await part.copying
        self._parts.remove(part)
        if code:
            raise PartError(f"{part.program.name} failed {_manner(code)}; its lines above say why")
        self._console.line(part.program.name, "done")

    async def _watch(self, part: _Part) -> None:
        code = await part.process.wait()
        if code or part.program.endless:
            with suppress(TimeoutError):  # its last lines first
                await asyncio.wait_for(asyncio.shield(part.copying), 1)
            raise PartError(f"{part.program.name} ended {_manner(code)}")
        self._console.line(part.program.name, "done")

    async def _stop(self) -> None:
        for part in reversed(self._parts):
            if part.process.returncode is None:
                self._console.line(part.program.name, "stopping")
                signal_group(part.process.pid, signal.SIGTERM)
                try:
                    await asyncio.wait_for(part.process.wait(), part.program.grace)
                except TimeoutError:
                    self._console.line(part.program.name, "does not stop: killed")
            signal_group(part.process.pid, signal.SIGKILL)  # and what it may have left behind
            await part.process.wait()
            part.copying.cancel()


def _manner(code: int) -> str:
    if code < 0:
        return f"by signal {signal.Signals(-code).name} (exit code {128 - code})"
    return f"with exit code {code}"
