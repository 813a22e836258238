"""Settings of signing in at an OpenID provider: which one, and what its groups may do."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from processor.connection_settings import OptionalPath, contradiction
from projections.queries.roles import Role

#: Cookies hold what signing in said for so long: the provider is not asked again meanwhile.
_DEFAULT_SESSION_MINUTES: Final = 240
_MAX_SESSION_MINUTES: Final = 720


class GroupAccess(BaseModel, extra="forbid"):
    """What the people of a group are."""

    tenant: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    role: Role


def _as_list(value: Any) -> Any:
    """Take one role without brackets."""
    return [value] if isinstance(value, dict) else value


def _domains(text: str) -> str:
    for domain in text.split(","):
        if "@" in domain:
            raise ValueError("takes domains, as example.com")
    return text


class OpenIdSettings(BaseModel):
    """Signing in at an OpenID provider, beside keys."""

    issuer: str = Field(
        "",
        pattern=r"^(https://[^?#\s]+|http://(127\.0\.0\.1|\[::1\]|localhost)(:[0-9]+)?(/[^?#\s]*)?)?$",
        description="of its discovery document, letter by letter; '': people have keys",
    )
    client_id: str = Field("", description="what the provider calls Sendlog")
    client_secret: SecretStr = Field(SecretStr(""), description="of it; '': a public client")
    scopes: str = Field(
        "openid profile email", pattern=r"^openid( \S+)*$", description="what it is asked for"
    )
    button: str = Field(
        "Sign in with your account", min_length=1, max_length=80, description="its text"
    )
    name_claim: str = Field(
        "name", min_length=1, description="of a person's name; else their email"
    )
    groups_claim: str = Field("groups", min_length=1, description="of their groups; may be a path")
    groups: dict[str, Annotated[list[GroupAccess], BeforeValidator(_as_list)]] = Field(
        default_factory=dict, description="JSON: by group tenant ('*': all) and role, or several"
    )
    email_domains: Annotated[str, AfterValidator(_domains)] = Field(
        "", description="with commas; then a person needs a verified address of one of them"
    )
    session_minutes: int = Field(
        _DEFAULT_SESSION_MINUTES, ge=5, le=_MAX_SESSION_MINUTES,
        description="until a person signs in again, and new groups count",
    )  # fmt: skip
    ca_file: OptionalPath = Field(
        None, description="PEM of the CAs that may have signed the provider; None: the system's"
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if not self.issuer:
            # A default may be set, too: the local stack hands all settings on.
            others = [
                name
                for name, field in type(self).model_fields.items()
                if getattr(self, name) != field.get_default(call_default_factory=True)
            ]
            if others:
                names = ", ".join(sorted(name.upper() for name in others))
                raise contradiction(f"ISSUER is empty, so there is no use for {names}")
        elif not self.client_id or not self.groups:
            raise contradiction("ISSUER takes CLIENT_ID and GROUPS: without a role nobody gets in")
        return self

    @property
    def domains(self) -> frozenset[str]:
        """The domains of addresses that may sign in; none: all."""
        return frozenset(filter(None, map(str.strip, self.email_domains.lower().split(","))))
