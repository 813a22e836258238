"""The webhooks that are configured, by tenant and provider."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from pydantic import SecretStr, TypeAdapter, ValidationError

from processor.connection_settings import WebhookSecret
from processor.kafka.topics import feed_topic
from processor.secret_files import SecretFileError, read_secret
from processor.settings import GatewaySettings, SettingsError
from schemas.providers import adapters, reports
from schemas.providers.signatures import SIGNATURE_TOLERANCE, SignatureError, check_secret

#: A tenant that can be part of an address.
TENANT_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
TENANT_RULE: Final = "a tenant here is up to 128 letters, digits and . _ @ -"
#: For how long providers retry a webhook with the signature of the first attempt. A shorter
#: tolerance would refuse for good what was refused during an outage. A replay within that time is
#: harmless, because an event that arrives twice counts once, and a token is good for one body.
RETRY_PERIODS: Final[Mapping[str, timedelta]] = {
    "mailgun": timedelta(hours=9),
    "ses": timedelta(hours=2),
    "aws_sms": timedelta(hours=2),
    "scaleway": timedelta(hours=8),
}
#: More than any provider goes on for with the signature of its first attempt.
MAX_TOLERANCE_SECONDS: Final = 7 * 86_400
SECRETS_VARIABLE: Final = "SENDLOG_GATEWAY__SECRETS"
MAIL_PORT_VARIABLE: Final = "SENDLOG_GATEWAY__MAIL_PORT"
SECRETS_FILE_VARIABLE: Final = "SENDLOG_GATEWAY__SECRETS_FILE"

_SECRETS_FILE: Final = TypeAdapter(dict[str, dict[str, WebhookSecret]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One tenant's webhooks of one provider: their topic, and how they are verified.

    A signature proves that a webhook comes from the tenant's account; what its payload says of a
    tenant it does not prove. So the events are this tenant's, unless several tenants share the
    account (`several_tenants`).
    """

    tenant: str
    provider: str
    topic: str
    secret: SecretStr
    verified: bool
    tolerance: timedelta
    several_tenants: bool = False
    #: Of a hook that takes mail; without a secret it takes nothing else.
    addresses: tuple[str, ...] = ()

    @property
    def takes_webhooks(self) -> bool:
        """Whether it takes webhooks, and not only mail."""
        return not self.verified or bool(self.secret.get_secret_value())


def configured_hooks(gateway: GatewaySettings) -> Mapping[tuple[str, str], Hook]:
    """Return the hooks by tenant and provider.

    Raises `SettingsError`, which names the variable, or the file with its line or field.
    """
    hooks: dict[tuple[str, str], Hook] = {}
    sources = [(SECRETS_VARIABLE, gateway.secrets)]
    if gateway.secrets_file is not None:
        sources.append((str(gateway.secrets_file), _read_secrets(gateway.secrets_file)))
    for source, tenants in sources:
        for hook in _hooks(source, tenants):
            key = (hook.tenant, hook.provider)
            if key in hooks:
                raise SettingsError(f"{source}: {'.'.join(key)} is also in {SECRETS_VARIABLE}")
            hooks[key] = hook
    _check_addresses(gateway, hooks)
    if not hooks:
        raise SettingsError(
            f"no webhook is configured: set {SECRETS_FILE_VARIABLE} to a TOML file with"
            ' [tenant.provider] and secret = "…" for each'
        )
    return hooks


def _check_addresses(gateway: GatewaySettings, hooks: Mapping[tuple[str, str], Hook]) -> None:
    places: dict[str, str] = {}
    for key, hook in hooks.items():
        for address in map(str.lower, hook.addresses):
            if address in places:
                raise SettingsError(f"{'.'.join(key)} has the address of {places[address]}")
            places[address] = ".".join(key)
    if gateway.mail_port and not places:
        raise SettingsError(
            f"{MAIL_PORT_VARIABLE} is set, but no hook has addresses: write [tenant.reports] and"
            ' addresses = ["bounces@…"] for each'
        )


def _read_secrets(path: Path) -> dict[str, dict[str, WebhookSecret]]:
    try:
        with path.open("rb") as file:
            return _SECRETS_FILE.validate_python(tomllib.load(file))
    except OSError as error:
        raise SettingsError(
            f"{SECRETS_FILE_VARIABLE}: {path} cannot be read: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {error}") from None
    except RecursionError:
        raise SettingsError(f"{path}: it is nested too deeply") from None
    except ValidationError as error:
        raise SettingsError(
            "\n".join(
                f"{path}: {'.'.join(str(step) for step in problem['loc'])}: {problem['msg']}"
                for problem in error.errors(include_input=False, include_url=False)
            )
        ) from None


def _hooks(source: str, tenants: Mapping[str, Mapping[str, WebhookSecret]]) -> Iterator[Hook]:
    for tenant, providers in tenants.items():
        if not TENANT_PATTERN.fullmatch(tenant):
            raise SettingsError(f"{source}: {tenant}: {TENANT_RULE}")
        for provider, secret in providers.items():
            place = f"{source}: {tenant}.{provider}"
            adapter = adapters().get(provider)
            if adapter is None:
                names = ", ".join(sorted(adapters()))
                raise SettingsError(f"{place}: there is no such provider; there are: {names}")
            if secret.secret_file is not None:
                secret = _with_file(place, secret, secret.secret_file)  # noqa: PLW2901 - the same
            _check_hook(place, provider, secret)
            tolerance = RETRY_PERIODS.get(provider, SIGNATURE_TOLERANCE)
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
                addresses=secret.addresses,
            )


def _with_file(place: str, secret: WebhookSecret, path: Path) -> WebhookSecret:
    """Return a hook with the secret that is in its file."""
    if secret.secret.get_secret_value():
        raise SettingsError(f"{place}: it has secret and secret_file; leave out one")
    try:
        text = read_secret(f"{place}.secret_file", path).get_secret_value()
        return secret.model_copy(update={"secret": SecretStr(text)})
    except SecretFileError as error:
        raise SettingsError(str(error)) from None


def _check_hook(place: str, provider: str, secret: WebhookSecret) -> None:
    text = secret.secret.get_secret_value()
    if secret.addresses and provider != reports.PROVIDER:
        raise SettingsError(f"{place}.addresses: only {reports.PROVIDER} come by mail")
    if (secret.tolerance or 0) > MAX_TOLERANCE_SECONDS:
        raise SettingsError(f"{place}.tolerance: takes at most {MAX_TOLERANCE_SECONDS:,} seconds")
    if secret.unverified:
        if text:
            raise SettingsError(f"{place}: it is unverified = true and has a secret; leave out one")
        return
    if not text and secret.addresses:
        return
    if not text:
        raise SettingsError(
            f"{place}.secret: it is empty; to take webhooks from anyone, say unverified = true"
        )
    try:
        check_secret(provider, text)
    except SignatureError as error:
        raise SettingsError(f"{place}.secret: {error}") from None
