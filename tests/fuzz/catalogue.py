"""All parsers that are asked."""

from __future__ import annotations

from tests.fuzz.gateway_parsers import gateway_parsers
from tests.fuzz.import_parsers import parsers_of_exports
from tests.fuzz.parsers import parsers_of_http, parsers_of_kafka, parsers_of_mail
from tests.fuzz.web_parsers import (
    parsers_of_bodies,
    parsers_of_boxes,
    parsers_of_cursors,
    parsers_of_files,
    parsers_of_tokens,
)

PARSERS = (
    *parsers_of_kafka(),
    *parsers_of_http(),
    *gateway_parsers(),
    *parsers_of_mail(),
    *parsers_of_cursors(),
    *parsers_of_boxes(),
    *parsers_of_bodies(),
    *parsers_of_tokens(),
    *parsers_of_files(),
    *parsers_of_exports(),
)
