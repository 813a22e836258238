"""Which webhooks are taken: what is configured for each tenant and provider."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from pydantic import SecretStr, TypeAdapter, ValidationError

from processor.kafka.topics import feed_topic
from processor.settings import Gateway, Secret, SettingsError
from schemas.providers import adapters
from schemas.providers.signatures import TOLERANCE, SignatureError, check_secret

#: A tenant as it may stand in an address.
TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
TENANT_RULE: Final = "a tenant here is up to 128 letters, digits and . _ @ -"
#: Providers that send a webhook again with the signature of the first attempt, and for how long
#: they do: less tolerance would refuse after an outage what was refused during it. A replay within
#: that time changes nothing, for an event that came twice counts once.
RESENT: Final[Mapping[str, timedelta]] = {
    "mailgun": timedelta(hours=9),
    "ses": timedelta(hours=2),
    "aws_sms": timedelta(hours=2),
}
VARIABLE: Final = "SENDLOG_GATEWAY__SECRETS"

_file: Final = TypeAdapter(dict[str, dict[str, Secret]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One tenant's webhooks of one provider: where they go, and how they are verified.

    What is verified is that they come from the tenant's account, not what its payloads say of
    tenants. So they are the tenant's own, unless several share the account (`several_tenants`).
    """

    tenant: str
    provider: str
    topic: str
    secret: SecretStr
    verified: bool
    tolerance: timedelta
    several_tenants: bool = False


def configured(gateway: Gateway) -> Mapping[tuple[str, str], Hook]:
    """Return the hooks by tenant and provider.

    Raises `SettingsError` naming the file with the line or field, or the variable.
    """
    found: dict[tuple[str, str], Hook] = {}
    sources = [(VARIABLE, gateway.secrets)]
    if gateway.secrets_file is not None:
        sources.append((str(gateway.secrets_file), _read(gateway.secrets_file)))
    for source, tenants in sources:
        for hook in _hooks(source, tenants):
            place = (hook.tenant, hook.provider)
            if place in found:
                raise SettingsError(f"{source}: {'.'.join(place)} is also in {VARIABLE}")
            found[place] = hook
    if not found:
        raise SettingsError(
            "no webhook is configured: set SENDLOG_GATEWAY__SECRETS_FILE to a TOML file with"
            ' [tenant.provider] and secret = "…" for each'
        )
    return found


def _read(path: Path) -> dict[str, dict[str, Secret]]:
    try:
        with path.open("rb") as file:
            return _file.validate_python(tomllib.load(file))
    except OSError as error:
        raise SettingsError(
            f"SENDLOG_GATEWAY__SECRETS_FILE: {path} cannot be read: {error.strerror}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise SettingsError(f"{path}: {reason}") from None
    except ValidationError as error:
        raise SettingsError(
            "\n".join(
                f"{path}: {'.'.join(str(step) for step in problem['loc'])}: {problem['msg']}"
                for problem in error.errors(include_input=False, include_url=False)
            )
        ) from None


def _hooks(source: str, tenants: Mapping[str, Mapping[str, Secret]]) -> Iterator[Hook]:
    for tenant, providers in tenants.items():
        if not TENANT.fullmatch(tenant):
            raise SettingsError(f"{source}: {tenant}: {TENANT_RULE}")
        for provider, secret in providers.items():
            place = f"{source}: {tenant}.{provider}"
            adapter = adapters().get(provider)
            if adapter is None:
                known = ", ".join(sorted(adapters()))
                raise SettingsError(f"{place}: there is no such provider; there are: {known}")
            _check(place, provider, secret)
            tolerance = RESENT.get(provider, TOLERANCE)
            if secret.tolerance is not None:
                tolerance = timedelta(seconds=secret.tolerance)
            yield Hook(
                tenant=tenant,
                provider=provider,
                topic=feed_topic(adapter.CHANNEL, provider),
                secret=secret.secret,
                verified=not secret.unverified,
                tolerance=tolerance,
                several_tenants=secret.several_tenants,
            )


def _check(place: str, provider: str, secret: Secret) -> None:
    text = secret.secret.get_secret_value()
    if secret.unverified:
        if text:
            raise SettingsError(f"{place}: it is unverified = true and has a secret; leave out one")
        return
    if not text:
        raise SettingsError(
            f"{place}.secret: it is empty; to take webhooks from anyone, say unverified = true"
        )
    try:
        check_secret(provider, text)
    except SignatureError as error:
        raise SettingsError(f"{place}.secret: {error}") from None
