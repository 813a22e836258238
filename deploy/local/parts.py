"""What the local stack consists of, in the order in which it starts."""

from __future__ import annotations

import json
import sys
import urllib.request
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, SecretStr

from deploy.local import accounts, broker, database
from deploy.local.accounts import kept_password
from deploy.local.addresses import Address, check_is_plain
from deploy.local.process import Program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.local.accounts import Account
    from processor.settings import Settings

PROCESSOR: Final = (sys.executable, "-m", "processor")
#: Retries within seconds, for whoever watches the demo.
DEMO_POLICY: Final = Path(__file__).with_name("demo-policy.toml")
_POLICY: Final = "SENDLOG_POLICY_FILE"
#: A key that may do everything: of this machine's own stack, and kept in its data folder.
_MAKE_KEY: Final = (
    "keys", "create", "local stack", "--tenant", "*",
    "--scope", "read", "--scope", "reset", "--scope", "admin",
)  # fmt: skip


def parts(
    settings: Settings,
    *,
    workers: int,
    demo: Sequence[str] | None,
    processor: Sequence[str] = PROCESSOR,
) -> list[Program]:
    """List the parts: the servers, the steps that set them up, the API, workers and the demo.

    `demo` has the options of the demo feed, or is None for none; it comes with a mailer.
    `processor` is the command that stands for `python -m processor`. Gets the broker's files ready
    on the way. Raises `LocalError`.
    """
    check_is_plain(settings)
    kafka, clickhouse, data = settings.kafka, settings.clickhouse, settings.data_dir
    own = environment(settings) | {"SENDLOG_KAFKA__REPLICATION": "1"}
    users = _accounts(settings)
    reading = _login(users[1])
    if demo is not None:
        own = {_POLICY: str(DEMO_POLICY), **own}  # unless the settings name one
    if settings.log_format == "auto" and sys.stderr.isatty():
        own["SENDLOG_LOG_FORMAT"] = "console"  # the part itself writes to a pipe
    step = partial(Program, environment=own)
    names = [f"worker-{number + 1}" for number in range(workers)] if workers > 1 else ["worker"]
    return [
        broker.program(kafka.bootstrap, data),
        database.program(clickhouse.url, data, users),
        step(name="topics", command=[*processor, "topics", "apply"]),
        step(name="migrate", command=[*processor, "migrate"]),
        step(name="key", command=[*processor, *_MAKE_KEY, "--file", str(key_file(data))]),
        step(
            name="api",
            command=[*processor, "api"],
            environment=own | reading | _metrics(settings, workers + 1),
            ready=partial(serves, settings),
        ),
        *(
            step(
                name=name,
                command=[*processor, "worker"],
                environment=own | _metrics(settings, number),
                ready=partial(_has_members, kafka.bootstrap, kafka.group, number),
            )
            for number, name in enumerate(names[:workers], start=1)
        ),
        *(
            [
                step(name="mailer", command=[*processor, "mailer"], ready=_at_once, endless=False),
                step(
                    name="demo", command=[*processor, "demo", *demo], ready=_at_once, endless=False
                ),
            ]
            if demo is not None
            else []
        ),
    ]


def _accounts(settings: Settings) -> list[Account]:
    """Return the users of ClickHouse: the one of the settings, the API's, the analysts'."""
    clickhouse, folder = settings.clickhouse, settings.data_dir
    password, name = clickhouse.password.get_secret_value(), clickhouse.database
    return [
        accounts.operator(password, name, clickhouse.user),
        accounts.api(kept_password(folder, accounts.API), name),
        accounts.analyst(kept_password(folder, accounts.ANALYST), name),
    ]


def _login(account: Account) -> dict[str, str]:
    return {
        "SENDLOG_CLICKHOUSE__USER": account.name,
        "SENDLOG_CLICKHOUSE__PASSWORD": account.password,
    }


def _metrics(settings: Settings, number: int) -> dict[str, str]:
    # Every worker needs a port of its own: they count up from the one that is set.
    port = settings.metrics_port
    return {"SENDLOG_METRICS_PORT": str(port + number - 1)} if port else {}


def environment(settings: Settings) -> dict[str, str]:
    """Write settings as the environment variables that they can be read from."""
    return dict(_variables("SENDLOG", settings))


def _variables(prefix: str, model: BaseModel, separator: str = "_") -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name in type(model).model_fields:
        key, value = f"{prefix}{separator}{name.upper()}", getattr(model, name)
        match value:
            case BaseModel():
                found |= _variables(key, value, "__")
            case SecretStr():
                found |= {key: value.get_secret_value(), f"{key}_FILE": ""}
            case dict():
                found[key] = json.dumps(value)
            case None:
                pass
            case _:
                found[key] = str(value)
    return found


def _has_members(bootstrap: str, group: str, number: int) -> bool:
    return broker.group_members(bootstrap, group) >= number


def key_file(data: Path) -> Path:
    """Return where the key of the API and the pages is kept."""
    return data / "api-key"


def api_address(settings: Settings) -> Address:
    """Return where the API and the pages listen."""
    return Address(settings.api.host.strip("[]"), settings.api.port)


def serves(settings: Settings) -> bool:
    """Tell whether the API answers."""
    return _serves(f"http://{api_address(settings)}")


def _serves(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as reply:  # noqa: S310 - our own
            return bool(reply.status == HTTPStatus.OK)
    except (OSError, HTTPException):
        return False


def _at_once() -> bool:
    return True
