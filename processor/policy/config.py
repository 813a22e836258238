"""The policies: how often a tenant's messages are retried, and what blacklists an address.

A TOML file gives a deployment's own, over the defaults below; every key may be left out:

    [default]
    retries = 3                       # after the first attempt
    schedule = ["15m", "1h", "4h"]    # after which wait; the last one goes for any further retry
    horizon = "72h"                   # no retry later than this after the first attempt
    soft_threshold = 5                # so many messages in a row softly bounced: listed
    soft_expiry = "30d"               # for so long
    refusal_threshold = 3             # so many refused without a cause within 30 days; 0: never
    refusal_expiry = "90d"
    blacklists = ["hard_bounce", "complaint", "opt_out", "echo", "refusals", "soft_bounces"]

    [tenant."acme"]                   # over [default]
    retries = 1
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic_core import ErrorDetails

from processor.bounce_rules import bounce_rules_in_force
from processor.settings import ENVIRONMENT_PREFIX, Settings
from processor.toml_file import explained_errors
from schemas.bounces import default_rules
from schemas.errors import ExplainedError

#: The variable that names a deployment's file.
POLICY_VARIABLE: Final = f"{ENVIRONMENT_PREFIX}POLICY_FILE"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_MAX_DURATION: Final = timedelta(days=366)
_KEY: Final = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*=""")


class PolicyError(ExplainedError, ValueError):
    """A file of policies cannot be used; the text names it, and the line that is wrong."""


def _duration(value: object) -> timedelta:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    duration = value if isinstance(value, timedelta) else timedelta(seconds=seconds)
    if not timedelta(0) < duration <= _MAX_DURATION:
        raise ValueError('a duration is a number of s, m, h or d in quotes, as "15m"; at most 366d')
    return duration


def duration_text(duration: timedelta) -> str:
    """Return a duration as the file has it: 90 minutes is "90m", three days are "3d"."""
    seconds = int(duration.total_seconds())
    unit = next(unit for unit in reversed(_UNITS) if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


Duration = Annotated[timedelta, BeforeValidator(_duration), PlainSerializer(duration_text)]
#: The rules that a policy may leave out, in the order in which an error names them: the `choosable`
#: ones of `SUPPRESSION_RULES`. An unsubscribe always holds, and so does a person's word.
_ChoosableRule = Literal[
    "hard_bounce", "complaint", "opt_out", "echo", "refusals", "soft_bounces"
]  # fmt: skip
CHOOSABLE_RULES: Final[frozenset[_ChoosableRule]] = frozenset(get_args(_ChoosableRule))


class _Keys(BaseModel):
    """The keys of a part of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retries: int = Field(3, ge=0, le=20, strict=True)
    schedule: tuple[Duration, ...] = Field(
        (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=4)), min_length=1, max_length=20
    )
    horizon: Duration = timedelta(hours=72)
    soft_threshold: int = Field(5, ge=1, le=20, strict=True)
    soft_expiry: Duration = timedelta(days=30)
    refusal_threshold: int = Field(3, ge=0, le=20, strict=True)
    refusal_expiry: Duration = timedelta(days=90)
    blacklists: frozenset[_ChoosableRule] = CHOOSABLE_RULES


class Policy(_Keys):
    """What goes for one tenant; `rules_version` is of the bounce rules, for decisions to quote."""

    rules_version: int = 0

    def wait(self, retry: int) -> timedelta:
        """Return how long after a bounce the retry of this number, from 1, is due."""
        return self.schedule[min(retry, len(self.schedule)) - 1]


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies in force: of some tenants, and of all others; and where they are from."""

    default: Policy = field(default_factory=Policy)
    tenants: Mapping[str, Policy] = field(default_factory=dict)
    file: Path | None = None

    def of(self, tenant: str) -> Policy:
        """Return the policy of a tenant."""
        return self.tenants.get(tenant, self.default)


def policies_in_force(settings: Settings) -> Policies:
    """Return the policies in force. Raises `PolicyError` and `BounceRulesError`."""
    version = bounce_rules_in_force(settings).rules.version
    if settings.policy_file is None:
        return Policies(Policy(rules_version=version))
    return read_policies(settings.policy_file, POLICY_VARIABLE, rules_version=version)


def read_policies(file: Path, named: str, *, rules_version: int | None = None) -> Policies:
    """Return the policies of a file.

    Raises `PolicyError`, which calls the file what it is `named` by: an option or a variable.
    """
    with explained_errors(file, named, PolicyError):
        text = file.read_text("utf-8")
        tables = tomllib.loads(text)
    problems: list[str] = []
    default = _checked(tables.pop("default", {}), ("default",), text, problems)
    tenants = tables.pop("tenant", {})
    if not isinstance(tenants, dict):
        problems.append(_at(text, ("tenant",), 'tenant: is a table, as [tenant."acme"]'))
        tenants = {}
    checked = {
        name: _checked(keys, ("tenant", name), text, problems) for name, keys in tenants.items()
    }
    takes = 'there are [default] and [tenant."NAME"]'
    problems += [_at(text, (name,), f"{name}: there is no such part; {takes}") for name in tables]
    if problems:
        raise PolicyError("\n".join(f"{named} {file}, {problem}" for problem in problems))
    version = default_rules().version if rules_version is None else rules_version
    base = {"rules_version": version, **default}
    return Policies(
        Policy.model_validate(base),
        {name: Policy.model_validate({**base, **keys}) for name, keys in checked.items()},
        file,
    )


def _checked(keys: Any, place: tuple[str, ...], text: str, problems: list[str]) -> dict[str, Any]:
    """Return a part of the file; add to `problems` what is wrong with it."""
    if not isinstance(keys, dict):
        problems.append(_at(text, place, f"{'.'.join(place)}: is a table of keys"))
        return {}
    try:
        _Keys.model_validate(keys)
    except ValidationError as error:
        problems += [_described(text, place, each) for each in error.errors(include_url=False)]
    return keys


def _described(text: str, place: tuple[str, ...], problem: ErrorDetails) -> str:
    key = str(problem["loc"][0])
    where = ".".join(map(str, (*place, *problem["loc"])))
    if problem["type"] == "extra_forbidden":
        message = f"there is no such key; there are: {', '.join(_Keys.model_fields)}"
    else:
        takes = problem["msg"].removeprefix("Value error, ")
        message = f"{takes} (it is {problem['input']!r})"
    return _at(text, (*place, key), f"{where}: {message}")


def _at(text: str, path: tuple[str, ...], message: str) -> str:
    """Return a message with the line in which a key stands, or else what it is written in.

    By hand, for no kept library of TOML says where a value stands.
    """
    table: tuple[str, ...] = ()
    line_number, depth = 0, 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("[") and (header := _header(line)):
            table = here = header
        elif key := _KEY.match(line):
            here = (*table, key[1] or key[2] or key[3])
        else:
            continue
        # Of an inline table or a dotted key, the line that leads the furthest.
        if len(here) > depth and path[: len(here)] == here:
            line_number, depth = number, len(here)
    return f"line {line_number}: {message}" if line_number else message


def _header(line: str) -> tuple[str, ...]:
    """Return the path of a table's header, () if the line is none."""
    try:
        step: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()  # a line of an array
    path: list[str] = []
    while isinstance(step, dict) and step:
        [(name, step)] = step.items()
        path.append(name)
    return tuple(path)
