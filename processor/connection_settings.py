"""Settings that groups share: keys and certificates, proxies, and secrets of webhooks."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Self

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

OptionalPath = Annotated[Path | None, BeforeValidator(lambda path: path or None)]
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
