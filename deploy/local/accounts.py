"""Who may log in to the local ClickHouse: users with passwords of their own, and their rights.

ClickHouse as a library keeps no users made by SQL, so they stand in its `users.xml`. None has a
right to files, URLs or other sources, and every one needs a password: a web page in the browser of
this machine reaches the port, too.
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from processor.settings import LOCAL_USER, local_password_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

API: Final = "sendlog_api"
ANALYST: Final = "sendlog_analyst"
#: The statements by which a server of one's own gets its analysts.
_READER: Final = Path(__file__).parents[1] / "clickhouse" / "reader.sql"
_ENGINES: Final = (
    "Atomic", "MergeTree", "ReplacingMergeTree", "AggregatingMergeTree", "Distributed",
)  # fmt: skip
#: What a server has by default and the library has not.
_SERVER_SETTINGS: Final = {
    "implicit_select": "0",
    "date_time_input_format": "basic",
    "cast_string_to_dynamic_use_inference": "0",
}
#: Of the user that the server itself logs in as; see `clickhouse.py`.
_BOOT_GRANT: Final = "GRANT SYSTEM LISTEN ON *.*"


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user, with rights as `GRANT` statements; a bound is a setting, `min` or `max`, a value.

    A filter is the condition on the rows that it sees of a table of the database `sendlog`.
    """

    name: str
    password: str
    grants: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict)
    bounds: Sequence[tuple[str, str, str]] = ()
    filters: Mapping[str, str] = field(default_factory=dict)


def operator(password: str, database: str = "*", name: str = LOCAL_USER) -> Account:
    """Return who writes the log and migrates its tables: the worker and the command line."""
    tables = "CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW, ALTER, SELECT, INSERT, TRUNCATE"
    return Account(
        name=name,
        password=password,
        grants=[
            f"GRANT {tables}, CREATE DATABASE, DROP DATABASE, OPTIMIZE ON {database}.*",
            "GRANT SELECT ON system.*",
            "GRANT REMOTE ON *.*",
            f"GRANT BACKUP ON {database}.*",
            "GRANT READ, WRITE ON DISK",
            *(f"GRANT TABLE ENGINE ON {engine}" for engine in _ENGINES),
        ],
    )


def api(password: str, database: str) -> Account:
    """Return who reads the log for the API and the pages."""
    return Account(
        name=API,
        password=password,
        # It asks each question with readonly = 2 by itself; that is all that it writes.
        grants=[
            f"GRANT SELECT ON {database}.*",
            f"GRANT INSERT ON {database}.ended_sessions",
            f"GRANT INSERT ON {database}.audit",
            f"GRANT INSERT ON {database}.saved_views",
        ],
    )


def analyst(password: str, database: str) -> Account:
    """Return who reads the views by SQL, with the rights and limits that `reader.sql` gives."""
    statements = _READER.read_text()
    views = re.findall(r"^GRANT SELECT ON sendlog\.(\w+) TO", statements, re.MULTILINE)
    [profile] = re.findall(r"CREATE SETTINGS PROFILE .*? SETTINGS(.*?);", statements, re.DOTALL)
    limits = re.findall(r"(\w+) = (\d+)((?: (?:MIN|MAX) \d+)*)", profile)
    return Account(
        name=ANALYST,
        password=password,
        grants=[f"GRANT SELECT ON {database}.{view}" for view in views],
        settings={name: value for name, value, _ in limits},
        bounds=[
            (name, way.lower(), bound)
            for name, _, bounds in limits
            for way, bound in re.findall(r"(MIN|MAX) (\d+)", bounds)
        ],
    )


def kept_password(data: Path, name: str) -> str:
    """Return the password of a user, which is made at first and kept in the data folder."""
    file = local_password_file(data, name)
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Complete before it has its name, and readable by its owner only from the beginning.
        fresh = file.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
            output.write(secrets.token_urlsafe(24))
        fresh.rename(file)
    return file.read_text().strip()


def users_xml(accounts: Sequence[Account]) -> str:
    """Return the `users.xml` of a server with these users."""
    root = Element("clickhouse")
    profiles, quotas, users = (SubElement(root, tag) for tag in ("profiles", "quotas", "users"))
    SubElement(quotas, "default")
    _profile(profiles, "default", _SERVER_SETTINGS)
    _profile(profiles, "boot", {"max_sessions_for_user": "1"})
    boot = _user(users, "default", profile="boot", network="::1", grants=[_BOOT_GRANT])
    SubElement(boot, "password")
    for account in accounts:
        _profile(profiles, account.name, _SERVER_SETTINGS | dict(account.settings), account.bounds)
        user = _user(
            users, account.name, profile=account.name, network="::/0", grants=account.grants
        )
        if account.filters:
            tables = SubElement(SubElement(user, "databases"), "sendlog")
            for table, condition in account.filters.items():
                SubElement(SubElement(tables, table), "filter").text = condition
        digest = SubElement(user, "password_sha256_hex")
        digest.text = sha256(account.password.encode()).hexdigest()
    indent(root)
    return tostring(root, encoding="unicode")


def _profile(
    profiles: Element,
    name: str,
    settings: Mapping[str, str],
    bounds: Sequence[tuple[str, str, str]] = (),
) -> None:
    profile = SubElement(profiles, name)
    for setting, value in settings.items():
        SubElement(profile, setting).text = value
    if bounds:
        constraints = SubElement(profile, "constraints")
        for setting, way, value in bounds:
            of_setting = constraints.find(setting)
            if of_setting is None:
                of_setting = SubElement(constraints, setting)
            SubElement(of_setting, way).text = value


def _user(
    users: Element, name: str, *, profile: str, network: str, grants: Sequence[str]
) -> Element:
    user = SubElement(users, name)
    SubElement(user, "profile").text = profile
    SubElement(user, "quota").text = "default"
    SubElement(SubElement(user, "networks"), "ip").text = network
    statements = SubElement(user, "grants")
    for grant in grants:
        SubElement(statements, "query").text = grant
    return user
