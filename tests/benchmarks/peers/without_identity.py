"""Sendlog as if each event named its message and recipient: no edges are asked for or followed."""

from __future__ import annotations

from processor.cli.main import main
from processor.intake.identity import Identities
from projections.clickhouse.joining import NOTHING_JOINED

if __name__ == "__main__":
    Identities.resolve = lambda _self, _events: None
    Identities.join = lambda _self, _tables: NOTHING_JOINED
    main()
