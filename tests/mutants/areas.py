"""Which tests are about which part of the code: quick ones, and thorough ones for what is left."""

from __future__ import annotations

from typing import NamedTuple

_UNIT, _WHOLE = "tests/unit", "tests/integration"


class Area(NamedTuple):
    """Files, by patterns, with the tests that should notice what changes in them."""

    sources: tuple[str, ...]
    quick: tuple[str, ...]
    thorough: tuple[str, ...] = ()
    only_named: bool = False


AREAS = (
    Area(
        ("processor/kafka/*.py",),
        (f"{_UNIT}/processor/kafka",),
        (f"{_WHOLE}/processor/kafka", f"{_WHOLE}/processor/intake"),
    ),
    Area(
        ("processor/intake/*.py",),
        (f"{_UNIT}/processor/intake",),
        (f"{_WHOLE}/processor/intake", f"{_WHOLE}/processor/policy/test_address_life.py"),
    ),
    Area(
        ("processor/replay/*.py",),
        (f"{_UNIT}/processor/replay",),
        (f"{_WHOLE}/processor/replay", f"{_WHOLE}/projections/clickhouse/test_raw_records.py"),
    ),
    Area(
        ("projections/folds.py", "projections/status.py", "projections/presence.py",
         "projections/witness.py", "projections/expressions.py", "projections/tables/*.py"),
        (f"{_UNIT}/projections", f"{_UNIT}/processor/demo/test_demo.py"),
        (f"{_WHOLE}/projections/queries", "tests/property/test_witness.py",
         "tests/property/test_laws.py", "tests/property/test_pages.py",
         "tests/property/test_as_of.py"),
    ),
    Area(
        ("projections/queries/*.py", "projections/clickhouse/store.py",
         "projections/clickhouse/rebuild.py"),
        (f"{_UNIT}/projections",),
        (f"{_WHOLE}/projections/queries", "tests/property/test_rounds.py",
         f"{_WHOLE}/projections/web/test_api_access.py",
         "tests/property/test_pages.py", "tests/property/test_as_of.py",
         f"{_WHOLE}/projections/clickhouse/test_store.py",
         f"{_WHOLE}/projections/clickhouse/test_migrate.py", f"{_WHOLE}/projections/web"),
    ),
    Area(
        ("processor/policy/*.py",),
        (f"{_UNIT}/processor/policy", "tests/property/test_policy_laws.py"),
        (f"{_WHOLE}/processor/policy",),
    ),
    Area(
        ("projections/web/*.py", "projections/web/api/*.py"),
        (f"{_UNIT}/projections/web",),
        (f"{_WHOLE}/projections/web/test_api_commands.py",
         f"{_WHOLE}/projections/web/test_api_access.py", f"{_WHOLE}/projections/web"),
    ),
    Area(
        ("schemas/providers/_signatures/*.py", "schemas/providers/signatures.py",
         "processor/gateway/*.py"),
        (f"{_UNIT}/schemas/test_signatures.py", f"{_UNIT}/processor/gateway"),
        (f"{_WHOLE}/processor/gateway",),
    ),
    # The events themselves, and how providers' become them: only for mutants with a name.
    Area(
        ("schemas/*.py", "schemas/providers/*.py"),
        (f"{_UNIT}/schemas", "tests/contract/test_traps.py", "tests/contract/test_sms_forms.py"),
        only_named=True,
    ),
)  # fmt: skip
