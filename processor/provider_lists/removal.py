"""Take an address off the lists that its tenant's providers keep, by their APIs."""

from __future__ import annotations

import tomllib
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.error import HTTPError

from pydantic import TypeAdapter, ValidationError

from processor.logging import get
from processor.provider_lists.list_requests import (
    PROVIDERS,
    ListRequest,
    ProviderAccount,
    outcome_of_answer,
    requests_of,
)
from processor.settings import SettingsError
from processor.toml_file import explained_errors
from schemas.addresses import Address
from schemas.resets import ProviderRemoval, RemovalOutcome

log = get(__name__)

#: For one answer of a provider: somebody waits.
ANSWER_TIMEOUT_SECONDS: Final = 5.0
#: What is read of an answer.
MAX_ANSWER_BYTES: Final = 65_536
#: Providers that are asked at the same time.
MAX_THREADS: Final = 8

Accounts = Mapping[str, Mapping[str, ProviderAccount]]
#: What an account needs beside its key.
_NEEDED: Final[Mapping[str, str]] = {"mailgun": "domains", "ses": "key_id"}
_ACCOUNTS: Final = TypeAdapter(dict[str, dict[str, ProviderAccount]])
#: By severity: one list that failed is what staff have to hear of.
_SEVERITY: Final[Mapping[RemovalOutcome, int]] = {"not_listed": 0, "removed": 1, "failed": 2}


def read_accounts(file: Path | None) -> Accounts:
    """Return the accounts of a TOML file: `[tenant.provider]` with `key = …`; none without a file.

    Raises `SettingsError`, which shows no key.
    """
    if file is None:
        return {}
    variable = "SENDLOG_API__PROVIDER_ACCOUNTS"
    with explained_errors(file, variable, SettingsError):
        content = tomllib.loads(file.read_text("utf-8"))
    try:
        accounts = _ACCOUNTS.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise SettingsError(f"{variable} {file}: {place}: {first['msg']}") from None
    for tenant, providers in accounts.items():
        for name, account in providers.items():
            if name not in PROVIDERS:
                known = ", ".join(sorted(PROVIDERS))
                raise SettingsError(f"{variable} {file}: {tenant}.{name}: there are {known}")
            needed = _NEEDED.get(name)
            if needed and not getattr(account, needed):
                raise SettingsError(f"{variable} {file}: {tenant}.{name}: takes its {needed}")
    return accounts


class ProviderLists:
    """The lists that providers of some accounts keep; for any thread."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        # A redirect would take the key elsewhere.
        self._opener = urllib.request.build_opener(_NoRedirects)

    def names(self, tenant: str) -> list[str]:
        """Return the names for people of the providers of a tenant."""
        return [PROVIDERS[name].name for name in sorted(self._accounts.get(tenant, ()))]

    def remove(self, address: Address) -> list[ProviderRemoval]:
        """Take an address off the lists of its tenant's providers; return what came of it.

        Blocks for some seconds at most, and raises nothing: what failed is said in its line. Only
        email addresses are on such lists.
        """
        accounts = sorted(self._accounts.get(address.tenant_id, {}).items())
        if address.channel != "email" or not accounts:
            return []
        with ThreadPoolExecutor(MAX_THREADS) as threads:
            removals = threads.map(
                lambda each: self._remove_at(each[0], each[1], address.address), accounts
            )
            return list(removals)

    def _remove_at(self, provider: str, account: ProviderAccount, address: str) -> ProviderRemoval:
        answers = list(map(self._ask, requests_of(provider, account, address)))
        outcome, detail = worst_of(answers)
        log.info("provider_list", provider=provider, outcome=outcome, detail=detail)
        return ProviderRemoval(PROVIDERS[provider].name, outcome, detail)

    def _ask(self, request: ListRequest) -> tuple[RemovalOutcome, str]:
        outgoing = urllib.request.Request(  # noqa: S310 - a setting takes no other than https
            request.url, request.body, dict(request.headers), method=request.method
        )
        try:
            with self._opener.open(outgoing, timeout=ANSWER_TIMEOUT_SECONDS) as answer:
                return outcome_of_answer(answer.status, answer.read(MAX_ANSWER_BYTES))
        except HTTPError as error:
            with error:
                return outcome_of_answer(error.code, b"")
        except (OSError, HTTPException, ValueError):  # of an address, it may name it
            return "failed", "it does not answer"


def worst_of(answers: Iterable[tuple[RemovalOutcome, str]]) -> tuple[RemovalOutcome, str]:
    """Return what several requests to a provider came to: what failed first, then what was done."""
    return max(answers, key=lambda each: _SEVERITY[each[0]], default=("not_listed", ""))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow none."""
