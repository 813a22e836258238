"""Become a command that dies when the process that started it dies, however that comes about.

    python tether.py PID COMMAND ARGUMENT...

PID is the process that starts it. The kernel's parent-death signal is KILL: a supervisor that was
killed cannot see to an orderly end, whoever starts the stack again must not meet a leftover, and
all parts are built to be killed. The signal survives `exec`, so the command needs no change. This
is a small program rather than a `preexec_fn`, which may deadlock in a process that has threads.
Elsewhere than on Linux there is no such signal, and the command is only started.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie the knot, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the knot was tied
            sys.exit(f"{command[0]}: not started, its supervisor has gone")
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming a command is the point
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main()
