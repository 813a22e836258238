"""A disk that can be full: a file system in memory, where one may be mounted."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress

SIZE = "16g"
#: What is left when it is full: less than any part needs.
PAGE_BYTES = 4096


class Disk:
    """A mounted file system."""

    def __init__(self, folder):
        self.folder = folder

    def fill(self):
        """Leave no room."""
        while True:
            space = os.statvfs(self.folder)
            used = (space.f_blocks - space.f_bfree) * space.f_frsize
            with suppress(subprocess.CalledProcessError):  # it has grown meanwhile
                _mount("-o", f"remount,size={max(used, PAGE_BYTES)}", str(self.folder))
                return

    def empty(self):
        """Leave plenty of room again."""
        _mount("-o", f"remount,size={SIZE}", str(self.folder))


@contextmanager
def disk(folder):
    """Give a disk below a folder, or None where nobody may mount one."""
    place = folder / "disk"
    place.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={SIZE}", "sendlog-faults", str(place))
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _mount(*arguments):
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
