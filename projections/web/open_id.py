"""An OpenID provider as a client sees it: discovery, keys, the code flow, and verified tokens.

OpenID Connect Core 1.0 with PKCE (RFC 7636), Discovery 1.0, RP-Initiated Logout 1.0. What a
provider says about itself is kept for an hour; while it is away, for longer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlencode

import httpx2
import structlog
from anyio import CapacityLimiter, to_thread
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from pydantic import BaseModel, StringConstraints, ValidationError

from projections.tls import TlsFiles, client_context, tls_problem
from projections.web.id_tokens import (
    ExpectedToken,
    IdTokenError,
    PublicKey,
    public_keys,
    verified_claims,
)
from projections.web.people import PeopleRules, Person, SignInRefusedError

#: For a provider to answer; somebody waits for a page.
PROVIDER_TIMEOUT_SECONDS: Final = 5.0
#: What it says about itself, and its keys, are asked for again after so long.
PROVIDER_CACHE_SECONDS: Final = 3600.0
#: After a failure, and for a key that it did not have, it is asked again only after so long.
PROVIDER_RETRY_SECONDS: Final = 15.0
#: People who sign in at one moment; of its own, so that a slow provider holds up nothing else.
PROVIDER_THREADS: Final = 4
#: What ends a request without an answer.
_HTTP_ERRORS: Final = (httpx2.HTTPError, httpx2.InvalidURL)
log = structlog.stdlib.get_logger(__name__)
_Result = TypeVar("_Result")

#: https, or http on the own machine.
ProviderUrl = Annotated[
    str,
    StringConstraints(
        pattern=r"^(https://[^\s?#]+|http://(127\.0\.0\.1|\[::1\]|localhost)(:[0-9]+)?(/[^\s?#]*)?)"
        r"(\?[^\s#]*)?$"
    ),
]


class ProviderMetadata(BaseModel):
    """What is used of a provider's discovery document."""

    issuer: str
    authorization_endpoint: ProviderUrl
    token_endpoint: ProviderUrl
    jwks_uri: ProviderUrl
    userinfo_endpoint: ProviderUrl | None = None
    end_session_endpoint: ProviderUrl | None = None
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]
    authorization_response_iss_parameter_supported: bool = False


class ProviderAwayError(Exception):
    """The provider does not answer, or not as one does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIdClient:
    """What the provider knows of us; `client_secret` gives the secret of now, "" without one.

    `public_url` is how browsers call the start page: the provider leads them back to it, whatever
    a request says.
    """

    issuer: str
    client_id: str
    client_secret: Callable[[], str]
    public_url: str
    scopes: str = "openid profile email"
    tls: TlsFiles

    @property
    def callback_url(self) -> str:
        """Where the provider leads back to."""
        return f"{self.public_url}/sign-in/callback"


class OpenIdProvider:
    """A provider. Used from many threads; its methods block. `clock` gives seconds.

    Raises `TlsFileError` for a file of CAs that cannot be used.
    """

    def __init__(self, client: OpenIdClient, clock: Callable[[], float] = monotonic) -> None:
        self.client = client
        self._tls = client_context(client.tls)
        self._clock = clock
        self._lock = Lock()
        self._metadata: ProviderMetadata | None = None
        self._metadata_at = self._failed_at = self._keys_at = float("-inf")
        self._keys: list[PublicKey] = []

    def metadata(self) -> ProviderMetadata:
        """Return what the provider says about itself. Raises `ProviderAwayError`."""
        with self._lock:  # one thread asks for all that wait
            now = self._clock()
            is_fresh = now - self._metadata_at <= PROVIDER_CACHE_SECONDS
            if not is_fresh and now - self._failed_at > PROVIDER_RETRY_SECONDS:
                try:
                    self._metadata = self._discover()
                    self._metadata_at = self._clock()
                except (*_HTTP_ERRORS, ValueError, RecursionError, ProviderAwayError) as error:
                    self._failed_at = self._clock()
                    log.warning("openid_provider_away", issuer=self.client.issuer,
                                error=self._kind_of(error))  # fmt: skip
            if self._metadata is None:
                raise ProviderAwayError(f"no discovery document of {self.client.issuer}")
            return self._metadata

    @property
    def answered(self) -> bool | None:
        """Whether it answered when it was asked last; None if it is time to ask again."""
        now = self._clock()
        if self._metadata is not None and now - self._metadata_at <= PROVIDER_CACHE_SECONDS:
            return True
        return (
            None if now - self._failed_at > PROVIDER_RETRY_SECONDS else self._metadata is not None
        )

    def authorization_url(
        self, *, state: str, nonce: str, verifier: str, chooses_account: bool = False
    ) -> str:
        """Return where a browser goes to sign in. Raises `ProviderAwayError`."""
        endpoint = self.metadata().authorization_endpoint
        prompt = {"prompt": "select_account"} if chooses_account else {}
        with self._session(code_challenge_method="S256") as session:
            url, _ = session.create_authorization_url(
                endpoint, state=state, nonce=nonce, code_verifier=verifier, **prompt
            )
        return str(url)

    def logout_url(self) -> str:
        """Return where a browser goes to sign out there, too; "" if that is not offered.

        Raises `ProviderAwayError`.
        """
        endpoint = self.metadata().end_session_endpoint
        if endpoint is None:
            return ""
        parameters = {
            "client_id": self.client.client_id,
            "post_logout_redirect_uri": f"{self.client.public_url}/sign-in",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"

    def redeem(self, *, code: str, nonce: str, verifier: str, people: PeopleRules) -> Person:
        """Return who signed in, by the code of their sign-in. Raises `SignInRefusedError`.

        The user info endpoint is asked only for what the token does not say.
        """
        try:
            metadata = self.metadata()
            with self._session(token_endpoint_auth_method=self._auth_method(metadata)) as session:
                token = session.fetch_token(
                    metadata.token_endpoint, grant_type="authorization_code", code=code,
                    code_verifier=verifier,
                )  # fmt: skip
                claims = verified_claims(
                    str(token.get("id_token", "")), self._keys_of,
                    ExpectedToken(issuer=self.client.issuer, client_id=self.client.client_id,
                                  nonce=nonce),
                    token.get("access_token"),
                )  # fmt: skip
                if metadata.userinfo_endpoint and not people.is_complete(claims):
                    answer = session.get(metadata.userinfo_endpoint)
                    answer.raise_for_status()
                    claims = _with_user_info(claims, answer.json())
        except (ProviderAwayError, *_HTTP_ERRORS) as error:
            raise SignInRefusedError("provider_away", self._kind_of(error)) from None
        except IdTokenError as error:
            raise SignInRefusedError("token", str(error)) from None
        except (AuthlibBaseError, ValueError, RecursionError) as error:
            raise SignInRefusedError("provider_error", self._kind_of(error)) from None
        return people.person_of(self.client.issuer, claims)

    def check_issuer(self, issuer: str) -> None:
        """Check who says to have answered a sign-in (RFC 9207). Raises `SignInRefusedError`."""
        try:
            is_named = self.metadata().authorization_response_iss_parameter_supported
        except ProviderAwayError as error:
            raise SignInRefusedError("provider_away", self._kind_of(error)) from None
        if issuer != self.client.issuer and (issuer or is_named):
            raise SignInRefusedError("token", "issuer of the answer")

    def _session(self, **options: Any) -> Any:
        return OAuth2Client(
            self.client.client_id, self.client.client_secret() or None, scope=self.client.scopes,
            redirect_uri=self.client.callback_url, timeout=PROVIDER_TIMEOUT_SECONDS,
            verify=self._tls, **options,
        )  # fmt: skip

    def _auth_method(self, metadata: ProviderMetadata) -> str:
        if not self.client.client_secret():
            return "none"
        offered = metadata.token_endpoint_auth_methods_supported
        only_post = "client_secret_post" in offered and "client_secret_basic" not in offered
        return "client_secret_post" if only_post else "client_secret_basic"

    def _discover(self) -> ProviderMetadata:
        url = f"{self.client.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            metadata = ProviderMetadata.model_validate(self._get_json(url))
        except ValidationError as error:
            place = error.errors(include_url=False, include_input=False)[0]["loc"]
            raise ProviderAwayError(f"its document: {'.'.join(map(str, place))}") from None
        if metadata.issuer != self.client.issuer:
            raise ProviderAwayError("its document names another issuer")
        return metadata

    def _get_json(self, url: str) -> Any:
        answer = httpx2.get(url, timeout=PROVIDER_TIMEOUT_SECONDS, verify=self._tls)
        answer.raise_for_status()
        return answer.json()

    def _keys_of(self, key_id: object) -> list[PublicKey]:
        """Return the keys of an id, or all; they are loaded anew for an id that is unknown."""
        with self._lock:
            for max_age_seconds in (PROVIDER_CACHE_SECONDS, PROVIDER_RETRY_SECONDS):
                if self._clock() - self._keys_at > max_age_seconds:
                    assert self._metadata is not None
                    self._keys = public_keys(self._get_json(self._metadata.jwks_uri))
                    self._keys_at = self._clock()
                keys = [key for key in self._keys if key_id is None or key_id == key.kid]
                if keys:
                    return keys
        return []

    def _kind_of(self, error: Exception) -> str:
        """Return the kind of an error for the log, without what the provider wrote."""
        if isinstance(error, ProviderAwayError):
            return str(error)
        if isinstance(error, httpx2.HTTPStatusError):
            return f"it answers {error.response.status_code}"
        return tls_problem(error, self.client.tls.group) or type(error).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIdSignIn:
    """Signing in at a provider: whom it is offered to, and for how long it is good."""

    provider: OpenIdProvider
    people: PeopleRules
    button: str
    session_seconds: int
    threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(PROVIDER_THREADS))

    async def ask(self, function: Callable[[], _Result]) -> _Result:
        """Call what asks the provider, on a thread that nothing else has."""
        return await to_thread.run_sync(function, limiter=self.threads)

    async def is_available(self) -> bool:
        """Return whether the provider has said where to sign in."""
        if (answered := self.provider.answered) is not None:
            return answered
        try:
            await self.ask(self.provider.metadata)
        except ProviderAwayError:
            return False
        return True

    async def logout_url(self) -> str:
        """Return where a browser goes to sign out there; "" if that is not offered, or not now."""
        try:
            return await self.ask(self.provider.logout_url)
        except ProviderAwayError:
            return ""


def _with_user_info(claims: dict[str, Any], user_info: Any) -> dict[str, Any]:
    """Return claims with those of the user info endpoint that are missing."""
    if not isinstance(user_info, dict) or user_info.get("sub") != claims["sub"]:
        raise IdTokenError("user info is of another person")
    return {**user_info, **claims}
