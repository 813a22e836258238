"""Embed tokens: a host application shows one customer record in a frame, as a person of its own.

A token is a JSON Web Token of one kind: HS256, signed with the embed secret of an API key, whose id
is its `kid`. The secret is derived from the key's id, so that no table has anything to mint with.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from collections.abc import Callable
from time import time
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from schemas.words import Words

#: A token is at most valid for so long; its host makes a new one before.
MAX_TOKEN_SECONDS: Final = 600
#: By so much the clock of a host may be fast.
MAX_CLOCK_LEAD_SECONDS: Final = 30
MAX_TOKEN_LENGTH: Final = 4096
_PREFIX: Final = "es_"
#: Locale and time zone come with every token, for what is shown in them.
_DEFAULT_LOCALE: Final = "en"
_DEFAULT_TIME_ZONE: Final = "UTC"

EmbedScope = Literal["read", "reset"]


def _check_time_zone(name: str) -> str:
    if name != _DEFAULT_TIME_ZONE:
        try:
            ZoneInfo(name)
        except (OSError, ValueError, LookupError):
            raise ValueError("takes a name of the IANA database, as Europe/Berlin") from None
    return name


#: Part of a path; what has a line break in it has no page.
RecordPart = Annotated[
    str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")
]
#: https, but http on the developer's own machine. It becomes a part of a header.
Origin = Annotated[
    str,
    StringConstraints(
        max_length=261,
        pattern=r"^(https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?|http://(localhost|127\.0\.0\.1))"
        r"(:[0-9]{1,5})?$",
    ),
]
PersonName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$"
    ),
]
Locale = Annotated[
    str, StringConstraints(max_length=35, pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")
]
TimeZoneName = Annotated[str, StringConstraints(max_length=64), AfterValidator(_check_time_zone)]


class EmbedView(BaseModel):
    """What a frame shows to whom: one record, what may be done there, and in which pages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    record_type: Annotated[RecordPart, StringConstraints(pattern=r"^[^/]+$")] = Field(
        examples=["family"]
    )
    record_id: RecordPart = Field(examples=["F-1162"])
    actor: PersonName = Field(
        description="The person's name: in the history of what they change", examples=["Ann Clark"]
    )
    scopes: list[EmbedScope] = Field(
        default=["read"], min_length=1, max_length=2,
        description="No more than those of the key", examples=[["read", "reset"]],
    )  # fmt: skip
    origins: list[Origin] = Field(
        min_length=1, max_length=10, description="Of the pages that may have the frame",
        examples=[["https://app.example.com"]],
    )  # fmt: skip
    locale: Locale = Field(default=_DEFAULT_LOCALE, examples=["en-US"])
    time_zone: TimeZoneName = Field(default=_DEFAULT_TIME_ZONE, examples=["America/New_York"])


class EmbedClaims(EmbedView):
    """What a token says; `iat` and `exp` are Unix time, in seconds."""

    tenant: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    iat: int = Field(strict=True)
    exp: int = Field(strict=True)

    @model_validator(mode="after")
    def _check_duration(self) -> EmbedClaims:
        if not 0 < self.exp - self.iat <= MAX_TOKEN_SECONDS:
            raise ValueError(f"exp is at most {MAX_TOKEN_SECONDS} seconds after iat")
        return self


class EmbedTokenError(ValueError):
    """A text that is no token, or a token whose claims are wrong; says why."""


class EmbedTokens:
    """Makes and reads embed tokens. `secret` is what the embed secrets of keys are made of.

    Without a secret a random one is made. `clock` gives Unix time.
    """

    def __init__(self, secret: bytes = b"", *, clock: Callable[[], float] = time) -> None:
        self._secret = secret or secrets.token_bytes(32)
        self._clock = clock

    def secret_of(self, key_id: str) -> str:
        """Return the embed secret of a key: the host signs its tokens with these characters."""
        digest = hmac.digest(self._secret, b"embed\x00" + key_id.encode(), "sha256")
        return _PREFIX + _encode(digest)

    def issue(self, key_id: str, tenant: str, view: EmbedView, seconds: int) -> tuple[str, int]:
        """Return a token that is valid from now on for some seconds, and when it expires."""
        now = int(self._clock())
        claims = EmbedClaims(**view.model_dump(), tenant=tenant, iat=now, exp=now + seconds)
        header = {"alg": "HS256", "typ": "JWT", "kid": key_id}
        signed = f"{_encode_json(header)}.{_encode_json(claims.model_dump())}"
        return f"{signed}.{self._signature(key_id, signed)}", claims.exp

    def read(self, token: str) -> tuple[str, EmbedClaims]:
        """Return the key's id and the claims of a token, whether or not it has expired.

        Whether the key is valid and may do this is not checked here. Raises `EmbedTokenError`.
        """
        signed, _, signature = token.rpartition(".")
        head, _, payload = signed.partition(".")
        key_id = _key_id(_decode_json(head)) if len(token) <= MAX_TOKEN_LENGTH else None
        if key_id is None or not hmac.compare_digest(
            self._signature(key_id, signed).encode(), signature.encode("utf-8", "surrogatepass")
        ):
            raise EmbedTokenError("it is none, or its signature is wrong")
        try:
            claims = EmbedClaims.model_validate(_decode_json(payload))
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, details["loc"])) or "claims"
            problem = Words("%(parameter)s: %(detail)s", parameter=place, detail=details["msg"])
            raise EmbedTokenError(problem) from None
        if claims.iat > self._clock() + MAX_CLOCK_LEAD_SECONDS:
            raise EmbedTokenError("iat: it is in the future; is the clock right?")
        return key_id, claims

    def has_expired(self, claims: EmbedClaims) -> bool:
        """Return whether a token with these claims is no longer valid."""
        return claims.exp <= self._clock()

    def _signature(self, key_id: str, signed: str) -> str:
        secret = self.secret_of(key_id).encode()
        return _encode(hmac.digest(secret, signed.encode("utf-8", "surrogatepass"), "sha256"))


def _key_id(header: object) -> str | None:
    """Return the `kid` of a header that has nothing but what a token of ours has, else None."""
    match header:
        case {"alg": "HS256", "kid": str(key_id), **others}:
            is_ours = others.get("typ", "JWT") == "JWT" and others.keys() <= {"typ"}
            return key_id if is_ours and key_id.isascii() else None
    return None


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _encode_json(value: object) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())


def _decode_json(text: str) -> object:
    """Return the value of a token's part; None if it is none."""
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return json.loads(content)
    except (binascii.Error, ValueError, RecursionError):
        return None
