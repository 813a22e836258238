"""Settings of connections: TLS, proxies, ClickHouse, webhooks, and the walls between tenants."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from projections.tls import TlsFiles
from schemas.events import Identifier

OptionalPath = Annotated[Path | None, BeforeValidator(lambda path: path or None)]
DatabaseName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
#: ClickHouse's own first user.
DEFAULT_USER: Final = "default"
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_MIN_SECRET_CHARACTERS: Final = 32
MailAddress = Annotated[str, StringConstraints(pattern=r"^[^@\s+<>]*@[^@\s<>]+$")]
#: The type of an error about several settings of a group.
CONTRADICTION: Final = "contradiction"


def contradiction(text: str) -> PydanticCustomError:
    """Return the error of settings that do not go together; the text names them."""
    return PydanticCustomError(CONTRADICTION, "{text}", {"text": text})


class KeyPairSettings(BaseModel):
    """A certificate and its key, as PEM files."""

    certificate_file: OptionalPath = Field(None, description="PEM, with its chain")
    key_file: OptionalPath = Field(None, description="PEM, of the certificate")
    key_password: SecretStr = Field(SecretStr(""), description="of the key, if it has one")

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise contradiction("CERTIFICATE_FILE and KEY_FILE go together: set both, or neither")
        return self


class TlsClientSettings(KeyPairSettings):
    """What a client trusts, and what it shows of itself."""

    ca_file: OptionalPath = Field(
        None, description="PEM of the CAs that may have signed the server; None: the system's"
    )

    @property
    def tls_variables(self) -> list[str]:
        """The names of the settings about TLS that are set."""
        names = ("ca_file", "certificate_file", "key_file")
        return [name.upper() for name in names if getattr(self, name) is not None]


class ClickHouseSettings(TlsClientSettings):
    """The database."""

    url: str = Field(
        "http://127.0.0.1:8123",
        # What follows a question mark would turn off the verification of certificates.
        pattern=r"^https?://[^?#\s]+$",
        description="HTTP interface; encrypted if it begins with https, whatever the port",
    )
    database: DatabaseName = "sendlog"
    user: str = DEFAULT_USER
    password: SecretStr = SecretStr("")
    cluster: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.-]*$",
        description="name of a cluster: replicated, sharded tables",
    )
    timeout: float = Field(120, gt=0, le=280, description="seconds for one insert or query")

    @model_validator(mode="after")
    def _check_scheme(self) -> Self:
        if self.tls_variables and not self.url.startswith("https:"):
            raise contradiction(
                f"URL begins with http, which takes no {', '.join(self.tls_variables)}"
            )
        return self

    @property
    def sends_password_in_clear(self) -> bool:
        """Whether a password goes unencrypted to another machine."""
        parts = urlsplit(self.url)
        is_far = parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS
        return is_far and bool(self.password.get_secret_value() or parts.password)


def _usable_networks(text: str) -> str:
    for address in filter(None, map(str.strip, text.split(","))):
        ip_network(address)
    return text


def tls_files(settings: TlsClientSettings, group: str) -> TlsFiles:
    """Return the files of a client's settings; `group` begins their variables."""
    return TlsFiles(
        group=group,
        ca=settings.ca_file,
        certificate=settings.certificate_file,
        key=settings.key_file,
        key_password=settings.key_password.get_secret_value(),
    )


class HttpServerSettings(KeyPairSettings):
    """A server of ours: its own TLS, or the proxies in front of it."""

    proxies: Annotated[str, AfterValidator(_usable_networks)] = Field(
        "",
        description="addresses and networks, with commas, of proxies: those say who asks, and how",
    )


def long_enough(secret: SecretStr) -> SecretStr:
    """Return a secret of ours. Raises `ValueError` if it is short, unless it is empty."""
    if 0 < len(secret.get_secret_value()) < _MIN_SECRET_CHARACTERS:
        raise ValueError("takes at least 32 characters, or none")
    return secret


def _all_long_enough(secrets: SecretStr) -> SecretStr:
    for secret in secrets.get_secret_value().split():
        long_enough(SecretStr(secret))
    return secrets


#: Part of the names of topics.
MailerName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class WallSettings(BaseModel):
    """What in Kafka keeps tenants apart: topics of mailers, and signed commands."""

    command_secret: Annotated[SecretStr, AfterValidator(_all_long_enough)] = Field(
        SecretStr(""),
        description="signs commands, at least 32 characters, the same for worker, API and commands;"
        " of several, with white space between, the first signs, and all are accepted; '': workers"
        " obey whoever may write to delivery.commands",
    )
    mailers: dict[MailerName, tuple[Identifier, ...]] = Field(
        default_factory=dict, description="tenants by mailer, for mailers with topics of their own"
    )
    shared_sends: bool = Field(
        default=True, description="take any tenant's sends from email.sends and sms.sends"
    )

    @property
    def mailers_by_tenant(self) -> dict[str, list[str]]:
        """The mailers of each tenant that has some with topics of their own."""
        by_tenant: dict[str, list[str]] = {}
        for mailer, tenants in self.mailers.items():
            for tenant in dict.fromkeys(tenants):
                by_tenant.setdefault(tenant, []).append(mailer)
        return by_tenant


class WebhookSecret(BaseModel, extra="forbid"):
    """How webhooks of one tenant and provider are verified."""

    secret: SecretStr = Field(
        SecretStr(""),
        description="as the provider shows it; '' needs unverified = true, or takes only mail",
    )
    secret_file: OptionalPath = Field(None, description="a file with the secret, instead of it")
    unverified: bool = Field(default=False, description="take webhooks from anyone")
    tolerance: float | None = Field(
        None, gt=0, description="seconds a signature's time may be off; None: as is usual"
    )
    several_tenants: bool = Field(
        default=False, description="the account is shared: the payload's own tenant counts"
    )
    addresses: tuple[MailAddress, ...] = Field(
        (), description="of `reports`: mail to these is taken, as bounces@… or @domain"
    )
