"""The parsers of what comes to pages and API, and those of files that somebody hands in."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import UnionType
from zoneinfo import ZoneInfo

from joserfc.jwk import OKPKey
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from processor.bounce_rules import read_bounce_rules
from processor.gateway.hooks import configured_hooks
from processor.policy.config import read_policies
from processor.provider_lists.removal import read_accounts
from processor.settings import GatewaySettings
from processor.suppression_files import SuppressionFileError, read_rows
from projections.queries.days import by_day, day_of
from projections.queries.listing import Filter, QueryError
from projections.queries.search import read_search, words_of
from projections.tables import log_of
from projections.web.api.records import StandingsRequest
from projections.web.api.suppressions import AddRequest, ResetRequest
from projections.web.cursor import cursor_time, decode_cursor, encode_cursor
from projections.web.embed_tokens import EmbedTokenError, EmbedTokens
from projections.web.id_tokens import ExpectedToken, IdTokenError, public_keys, verified_claims
from projections.web.log_query import check_filters
from projections.web.open_id import ProviderMetadata
from projections.web.pages.auth import read_fields
from projections.web.params import parse_utc_time
from projections.web.people import GroupRole, PeopleRules, SignInRefusedError
from projections.web.problems import ProblemError
from projections.web.sessions import Sessions
from schemas.addresses import addresses_in, normal_form
from schemas.errors import ExplainedError
from schemas.smtp_replies import find_codes, find_last_codes, leading_status
from tests.embedding import sign
from tests.fuzz.mutations import (
    Example,
    cut,
    flip,
    inflate,
    nest,
    put_in,
    recode,
    repeat,
    spoil,
    spoil_lines,
)
from tests.fuzz.parsers import Parser, jsons, refusal, texts
from tests.paths import ROOT

TODAY = date(2026, 11, 30)
NOW = 1_750_000_000
CHANNELS = ("email", "sms")


def text_of(example: Example) -> str:
    """Return an input as a text of a URL or a form, in which half a character cannot be."""
    return example.payload.decode("utf-8", "replace")


# ---------------------------------------------------------------------- cursors

IDENTITY = ("acme", "email")
#: What the items of a cursor have to be, by the list that it is of.
CURSOR_TYPES: Mapping[str, tuple[tuple[type | UnionType, ...], int]] = {
    "log": ((str, int, str, str, int | None, bool), 1),
    "events": ((int, str, str), 0),
    "recipient": ((int | None, str, int | None, str), 0),
    "audit": ((int, str), 0),
    "dead letters": ((int, str, int, int, int), 0),
    "suppressions": ((str, str), 0),
}


def read_cursor(types: tuple[type | UnionType, ...], time_index: int, cursor: str) -> None:
    position = decode_cursor(IDENTITY, cursor, types)
    json.dumps(position, ensure_ascii=False).encode()
    if int in types and position[time_index] is not None:
        cursor_time(position[time_index])


def forged_cursor(types: tuple[type | UnionType, ...], time_index: int, example: Example) -> None:
    """Read a cursor of any content, whose digest is right: no secret is in it."""
    content = example.payload
    with suppress(ValueError, RecursionError):
        cursor = encode_cursor(IDENTITY, json.loads(content))
        read_cursor(types, time_index, cursor)


CURSOR = encode_cursor(IDENTITY, ["", 1_796_896_800_000, "m-2041", "ann@example.com", 20, False])


def parsers_of_cursors() -> Iterator[Parser]:
    positions = jsons(
        ["", 1_796_896_800_000, "m-2041", "ann@example.com", 20, False],
        [1_796_896_800_000, "e-1", "18446744073709551615"],
        [None, "", 1_796_896_800_000, "m-1"], [1_796_896_800_000, "email.sends", 0, 1, 2],
        ["email", "ann@example.com"],
    )  # fmt: skip
    for name, (types, index) in CURSOR_TYPES.items():
        check = refusal(partial(forged_cursor, types, index), ProblemError)
        yield Parser("cursors", f"position of {name}", positions, check)
    types, index = CURSOR_TYPES["log"]
    check = refusal(lambda example: read_cursor(types, index, text_of(example)), ProblemError)
    yield Parser("cursors", "text", texts(CURSOR), check)


# ---------------------------------------------------------------------- search, times, filters


def check_search(example: Example) -> None:
    text = text_of(example)
    for channel in CHANNELS:
        search = read_search(channel, text, TODAY, ZoneInfo("America/New_York"))
        assert search.filters or search.text == text.strip()
        assert words_of(channel, text)


def check_filter_text(example: Example) -> None:
    text = text_of(example)
    for channel in CHANNELS:
        log = log_of(channel)
        for column in log.columns:
            for operator in ("=", "<=", "!="):
                filters = by_day(
                    log, [Filter(column, operator, text)], TODAY, ZoneInfo("Asia/Tokyo")
                )
                with suppress(QueryError, ProblemError):
                    check_filters(channel, list(filters))


def check_time(example: Example) -> None:
    day_of(text_of(example), TODAY)
    time = parse_utc_time("since", text_of(example))
    assert time.utcoffset() is not None


def check_address(example: Example) -> None:
    text = text_of(example)
    for channel in CHANNELS:
        found = normal_form(channel, text, "GB")
        "".join(found).encode()
        again, _ = normal_form(channel, found[0], "GB")
        assert again == found[0], "the normal form of a normal form is another"
    addresses_in(text)


def check_reply(example: Example) -> None:
    text = text_of(example)
    find_codes(text)
    find_last_codes(text)
    leading_status(text)


def check_filters_text() -> list[Example]:
    return texts(
        "2026-11-25", "25 Nov", "Nov 25, 2026", "11/25/2026", "Monday", "delivered", "42", "true",
        "2026-11-25T10:00:00+14:00", '"exactly this"', "+44 7700 900123", "ann@example.com",
        "550 5.1.1 user unknown", "yesterday", "25.11.2026", "İstanbul 5.1.1",
    )  # fmt: skip


def parsers_of_boxes() -> Iterator[Parser]:
    examples = check_filters_text()
    yield Parser("texts", "search box", examples, refusal(check_search))
    yield Parser("texts", "filter", examples, refusal(check_filter_text))
    yield Parser("texts", "time", examples, refusal(check_time, ProblemError))
    replies = texts(
        "550 5.1.1 no such user", "smtp; 452-4.2.2 mailbox full", "421 try again",
        "host mx said: 554 5.7.1 blocked (in reply to RCPT TO)",
    )  # fmt: skip
    yield Parser("texts", "reply", replies, refusal(check_reply))
    addresses = texts(
        "Ann <ann@example.com>", "ann@müller.example", "+44 (0)7700 900123", "07700 900123",
        '"a b"@example.com', "ann@xn--mller-kva.example", "0044 7700 900123",
    )  # fmt: skip
    yield Parser("texts", "address", addresses, refusal(check_address))


# ---------------------------------------------------------------------- forms and JSON


def check_fields(example: Example) -> None:
    """Read a form as a page does, which waits for nothing but its body."""

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": example.payload, "more_body": False}

    reading = read_fields(Request({"type": "http", "headers": []}, receive))
    try:
        reading.send(None)
    except StopIteration as ended:
        json.dumps(ended.value)


def validate(model: TypeAdapter[object], example: Example) -> None:
    value = model.validate_json(example.payload)
    model.dump_json(value)


def parsers_of_bodies() -> Iterator[Parser]:
    form = texts("token=abc&address=ann%40example.com&reason=asked&tenant=acme&channel=email")
    yield Parser("forms", "page", form, refusal(check_fields, ProblemError))
    bodies = {
        StandingsRequest: {"addresses": [{"channel": "email", "address": "ann@example.com"}]},
        AddRequest: {"reason": "asked for it"},
        ResetRequest: {"reason": "asked", "confirmed_complaint": True},
        ProviderMetadata: {
            "issuer": "https://id.example.com", "jwks_uri": "https://id.example.com/keys",
            "authorization_endpoint": "https://id.example.com/authorize",
            "token_endpoint": "https://id.example.com/token",
        },
    }  # fmt: skip
    for model, value in bodies.items():
        check = refusal(partial(validate, TypeAdapter(model)), ValidationError)
        yield Parser("bodies", model.__name__, jsons(value), check)


# ---------------------------------------------------------------------- tokens

TOKENS = EmbedTokens(b"s" * 32, clock=lambda: NOW)
CLAIMS = {
    "tenant": "acme", "record_type": "family", "record_id": "F-1", "actor": "Ann Clark",
    "scopes": ["read"], "origins": ["https://app.example.com"], "iat": NOW - 10, "exp": NOW + 200,
    "locale": "en-US", "time_zone": "Europe/Berlin",
}  # fmt: skip
HEADER = {"alg": "HS256", "typ": "JWT", "kid": "k1"}


def read_embed_token(example: Example) -> None:
    key_id, claims = TOKENS.read(text_of(example))
    assert key_id
    claims.model_dump_json()


def read_embed_claims(example: Example) -> None:
    """Read any claims that somebody has signed who has the secret."""
    token = sign(example.payload, TOKENS.secret_of("k1"), HEADER)
    read_embed_token(Example(token.encode(), {}))


KEY = OKPKey.generate_key("Ed25519", {"kid": "k1"})
EXPECTED = ExpectedToken(issuer="https://id.example.com", client_id="sendlog", nonce="n-1")
ID_CLAIMS = {
    "iss": EXPECTED.issuer, "aud": ["sendlog"], "azp": "sendlog", "sub": "u1", "nonce": "n-1",
    "iat": 1_900_000_000 - 10**9, "exp": 2_900_000_000, "nbf": 1, "auth_time": 1, "at_hash": "abc",
    "name": "Ann Clark", "email": "ann@example.com", "email_verified": True, "groups": ["helpers"],
    "amr": ["pwd"], "acr": "1",
}  # fmt: skip
PEOPLE = PeopleRules(
    group_roles={"helpers": [GroupRole("acme", "support")]},
    email_domains=frozenset({"example.com"}),
)


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def signed_id_token(header: bytes, claims: bytes) -> str:
    signed = f"{encoded(header)}.{encoded(claims)}"
    return f"{signed}.{encoded(KEY.private_key.sign(signed.encode()))}"


def read_id_token(token: str) -> None:
    claims = verified_claims(token, lambda _: [KEY], EXPECTED, "access")
    PEOPLE.is_complete(claims)
    PEOPLE.person_of(EXPECTED.issuer, claims)


def parsers_of_tokens() -> Iterator[Parser]:
    def id_check(read: Callable[[Example], None]) -> Callable[[Example], bool]:
        return refusal(read, IdTokenError, SignInRefusedError)

    header = json.dumps({"alg": "EdDSA", "kid": "k1"}).encode()
    claims = json.dumps({k: v for k, v in ID_CLAIMS.items() if k != "at_hash"}).encode()
    embed = refusal(read_embed_token, EmbedTokenError)
    token = sign(CLAIMS, TOKENS.secret_of("k1"), HEADER)
    yield Parser("tokens", "embed token", texts(token), embed)
    embed_claims = refusal(read_embed_claims, EmbedTokenError)
    yield Parser("tokens", "embed claims", jsons(CLAIMS), embed_claims)
    yield Parser(
        "tokens", "ID token", texts(signed_id_token(header, claims)),
        id_check(lambda example: read_id_token(text_of(example))),
    )  # fmt: skip
    yield Parser(
        "tokens", "ID claims", [Example(claims, {}), *jsons(ID_CLAIMS)],
        id_check(lambda example: read_id_token(signed_id_token(header, example.payload))),
    )  # fmt: skip
    yield Parser(
        "tokens", "ID header", [Example(header, {})],
        id_check(lambda example: read_id_token(signed_id_token(example.payload, claims))),
    )  # fmt: skip
    key_set = jsons(
        {"keys": [KEY.as_dict(private=False), {"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}
    )
    yield Parser("tokens", "key set", key_set, refusal(read_keys))
    sessions = Sessions(b"s" * 32, clock=lambda: NOW)
    cookie = sessions.to_cookie(sessions.begin("k1"))
    yield Parser(
        "tokens", "session", texts(cookie), lambda e: sessions.read(text_of(e)) is not None
    )


def read_keys(example: Example) -> None:
    with suppress(ValueError, RecursionError):
        public_keys(json.loads(example.payload))


# ---------------------------------------------------------------------- files

#: Changes of a file of lines: what it says, else its bytes.
FILE_CHANGES = (
    *(lambda payload, rng: spoil_lines(payload.decode("utf-8", "replace"), rng),) * 10,
    flip, cut, put_in, repeat, recode, spoil, nest, inflate,
)  # fmt: skip
SECRETS = """[acme.sendgrid]
unverified = true
[acme.mailgun]
secret = "key-1"
tolerance = 60.5
several_tenants = true
[acme.reports]
addresses = ["bounces@mail.acme.example"]
"""
POLICY = """[default]
retries = 3
schedule = ["15m", "1h", "4h"]
soft_threshold = 5
refusal_threshold = 3
[tenant."acme"]
retries = 1
"""
ACCOUNTS = '[acme.mailgun]\nkey = "key-1"\ndomains = ["mg.acme.example"]\n'
ROWS = """tenant,channel,address,reason
acme,email,ann@example.com,"asked, twice"
,sms,07700 900123,x
"""
FOLDER = TemporaryDirectory(prefix="sendlog-fuzz-")


def read_file(read: Callable[[Path], object], example: Example) -> None:
    file = Path(FOLDER.name) / "input.toml"
    file.write_bytes(example.payload)
    read(file)


def check_rows(example: Example) -> None:
    lines = text_of(example).splitlines(keepends=True)
    for row in read_rows(lines, "acme", "GB"):
        assert row.line_number


def parsers_of_files() -> Iterator[Parser]:
    rules = (ROOT / "schemas" / "bounces.toml").read_text("utf-8")
    files: dict[str, tuple[str, Callable[[Path], object]]] = {
        "hooks": (SECRETS, lambda file: configured_hooks(GatewaySettings(secrets_file=file))),
        "policy": (POLICY, lambda file: read_policies(file, "policy")),
        "accounts": (ACCOUNTS, read_accounts),
        "bounce rules": (rules, lambda file: read_bounce_rules(file, "rules")),
    }
    for name, (text, read) in files.items():
        check = refusal(partial(read_file, read), ExplainedError)
        yield Parser("files", name, texts(text), check, FILE_CHANGES)
    rows = refusal(check_rows, SuppressionFileError, csv.Error)
    yield Parser("files", "suppressions", texts(ROWS), rows, FILE_CHANGES)
