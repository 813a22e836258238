"""Finds an address in bytes, however it is written: by decoding, not by a pattern of its forms."""

from __future__ import annotations

import base64
import binascii
import html
import quopri
import re
from urllib.parse import unquote_to_bytes

MAX_DEPTH = 3
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/_-]{12,}")
_BREAKS = re.compile(rb"=?(?:\r|\n|\\+[rn])+[ \t]*")
_JSON_ESCAPE = re.compile(rb"\\+[uU]00([0-9a-fA-F]{2})")


def readings(data, depth=MAX_DEPTH):
    """Return all that bytes may mean, lower-cased: themselves, and what they are an encoding of."""
    seen, waiting = set(), [(data, 0)]
    while waiting:
        each, level = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        if level < depth:
            waiting += [(other, level + 1) for other in _decoded(each) if other != each]
    return {each.lower() for each in seen}


def stands_in(address, data):
    """Tell whether an address stands in bytes, in any writing."""
    if "@" in address:
        name, _, domain = address.encode().partition(b"@")
        wanted = {address.encode(), b"%b=%b" % (name, domain)}
        return any(text in reading for reading in readings(data) for text in wanted)
    national = address.encode()[3:]  # of a country with two digits
    return any(national in re.sub(rb"[^0-9]", b"", reading) for reading in readings(data))


def _decoded(data):
    joined = _BREAKS.sub(b"", data)
    yield joined
    yield unquote_to_bytes(data.replace(b"+", b" "))
    yield quopri.decodestring(data)
    yield _JSON_ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), data)
    yield html.unescape(data.decode("latin-1")).encode("latin-1", "replace")
    for run in _BASE64_RUN.findall(joined.replace(b"\\/", b"/")):
        for start in range(4):
            part = run[start:].replace(b"-", b"+").replace(b"_", b"/")
            try:
                yield base64.b64decode(part[: len(part) - (len(part) % 4 == 1)] + b"===")
            except binascii.Error:
                continue


def stored_values(client, target, *, but_tenant=""):
    """Yield each value that a node has stored, with its table and column; also what is masked.

    Rows of a tenant may be left out, of tables that name one.
    """
    tables = client.query(
        "SELECT name FROM system.tables WHERE database = {database:String} "
        "AND engine LIKE '%MergeTree'",
        parameters={"database": target.database},
    ).result_rows  # fmt: skip
    settings = {"apply_deleted_mask": 0, "prefer_column_name_to_alias": 1}
    for (table,) in tables:
        columns = client.query(f"DESCRIBE TABLE {target.database}.{table}").result_rows
        names = [row[0] for row in columns if "String" in row[1]]
        texts = ", ".join(f"base64Encode(toString({name})) AS {name}" for name in names)
        where = f" WHERE tenant_id != '{but_tenant}'" if "tenant_id" in names and but_tenant else ""
        sql = f"SELECT {texts} FROM {target.database}.{table}{where}"
        rows = client.query(sql, settings=settings)
        for row in rows.result_rows:
            for name, value in zip(names, row, strict=True):
                yield table, name, base64.b64decode(value)
