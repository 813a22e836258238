"""ClickHouse's own server, out of chDB's wheel, until it is ended by a signal.

    python -m deploy.local.clickhouse FOLDER

FOLDER has a `config.xml` and gets the data. chDB runs queries in ClickHouse's `LocalServer`, and
that can open ClickHouse's HTTP and native ports: what listens is the server itself, with its limits
and its error codes. The last query never ends, so that neither do the ports.

The session of these queries logs in as the user `default`, without a password. It may have that one
session only (see `accounts.py`), so nobody else logs in as `default` as long as the server runs.

A signal ends the process at once. A part of a table is written beside the table and then renamed,
so what was acknowledged is there at the next start, and nothing else is.
"""

from __future__ import annotations

import os
import sys
from typing import Final

_STARTED: Final = (
    "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP;"
    " SELECT sleepEachRow(1) FROM numbers(1000000000) SETTINGS max_block_size = 1,"
    " function_sleep_max_microseconds_per_block = 100000000, max_execution_time = 0 FORMAT Null"
)


def main() -> None:
    """Serve the folder that is named on the command line."""
    [folder] = sys.argv[1:]
    os.umask(0o077)
    # The import opens a database of the working directory's configuration, the query one of its
    # own: each must be another, so the folder is entered in between.
    from chdb import _chdb  # noqa: PLC0415

    os.chdir(folder)
    query = vars(_chdb)["query"]  # its type information leaves it out
    try:
        reason = query(_STARTED, "TSV", path=".").error_message()
    except RuntimeError as error:
        reason = str(error)
    sys.exit(f"clickhouse: the data folder {folder} cannot be served: {_summary(reason)}")


def _summary(reason: str) -> str:
    """Return what ClickHouse says in one line, without the stack."""
    text = reason.rpartition("DB::Exception: ")[2].split(", Stack trace")[0]
    # What goes wrong before the first query is printed by ClickHouse itself.
    return text.replace("\n", " ")[:400] or "the lines above say why"


if __name__ == "__main__":
    main()
