"""Roles: what the documents say that each may do is what it may, and keys keep what they could."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from projections.queries.api_keys import new_key
from projections.queries.roles import ROLES, SCOPES, Role, Scope

PAGE = Path(__file__).parents[4] / "projections/web/README.md"


def test_the_table_of_the_documents_is_what_roles_may_do():
    table = PAGE.read_text("utf-8").partition("\n## Roles\n")[2].partition("\n## ")[0]
    header, _, *lines = re.findall(r"^\|(.+)\|$", table, re.MULTILINE)
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    names = [cell.strip() for cell in header.split("|")][2:]
    assert names == list(ROLES) == list(get_args(Role))
    assert {row[0].strip("`"): row[1] for row in rows} == SCOPES
    assert list(SCOPES) == list(get_args(Scope))
    said = {name: {row[0].strip("`") for row in rows if row[place] == "yes"}
            for place, name in enumerate(names, 2)}  # fmt: skip
    assert said == ROLES
    assert {cell for row in rows for cell in row[2:]} == {"yes", "no"}


def test_roles_are_what_they_are_for():
    assert ROLES["support"] == {"read", "reset"}
    assert ROLES["analyst"] == {"read", "export"}
    assert ROLES["manager"] == {"read", "export", "reset", "bulk_reset"}
    assert ROLES["admin"] == {"read", "export", "reset", "bulk_reset", "admin"}


@pytest.mark.parametrize(
    ("scopes", "role", "expected"),
    [
        (["read"], "", {"read", "export"}),
        (["read", "reset"], "", {"read", "export", "reset", "bulk_reset"}),
        (["admin"], "", {"admin"}),
        ([], "", set()),
        ([], "support", {"read", "reset"}),
        ([], "analyst", {"read", "export"}),
        ([], "of a later version", set()),
    ],
)
def test_a_key_may_do_what_its_role_or_its_scopes_say_in_its_own_tenants(scopes, role, expected):
    key, _ = new_key("desk", ["a"], scopes, role)
    assert key.granted == expected
    assert key.granted_in("a") == expected
    assert key.granted_in("b") == set()
    assert key.granted_in("*") == set()
    for_all, _ = new_key("desk", ["*"], scopes, role)
    assert for_all.granted_in("b") == for_all.granted_in("*") == expected
