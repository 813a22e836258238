"""Tokens of OAUTHBEARER: where they come from, how long they are kept, and what is said of none."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from time import time
from urllib.parse import parse_qs

import pytest

from processor.kafka.tokens import Token, TokenCache, TokenError, token_by_command, tokens_of
from processor.settings import KafkaSettings


def jwt(**claims):
    return f"head.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.sig"


def test_a_token_is_kept_until_a_fifth_of_its_life_is_left():
    now, fetched = 0.0, []

    def fetch():
        fetched.append(now)
        return Token(f"token {len(fetched)}", 100)

    tokens = TokenCache(fetch, lambda: now)
    assert [tokens.get(), tokens.get()] == ["token 1", "token 1"]
    now = 79.0
    assert tokens.get() == "token 1"
    now = 80.0
    assert tokens.get() == "token 2"
    assert fetched == [0.0, 80.0]


@pytest.mark.parametrize(
    ("output", "text", "least", "most"),
    [
        (jwt(exp=time() + 86_400), None, 1, 86_400),
        (jwt(sub="me"), None, 0, 0),
        ("opaque", None, 0, 0),
        ('{"access_token": "inside", "expires_in": 90}', "inside", 90, 90),
    ],
    ids=["expires", "never", "opaque", "answer"],
)
def test_a_command_prints_a_token_or_what_an_endpoint_would_answer(
    tmp_path, output, text, least, most
):
    file = tmp_path / "token"
    file.write_text(f"{output}\n")
    token = token_by_command(f"cat '{file}'")
    assert token.text == (text or output)
    assert least <= token.lifetime_seconds <= most


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sh -c 'echo s3cret; exit 3'", "exit code 3"),
        ("/nowhere/at-all", "cannot be run: No such file"),
        ("echo ''", "printed nothing"),
        ('echo \'{"error": "s3cret"}\'', "gave no access_token"),
        ("echo 'unmatched", "no command that prints a token"),
    ],
)
def test_why_a_command_gave_no_token_is_said_without_what_it_printed(command, words):
    with pytest.raises(TokenError, match=f"SENDLOG_KAFKA__TOKEN_COMMAND.*{words}") as caught:
        token_by_command(command)
    assert "s3cret" not in str(caught.value)


@contextmanager
def endpoint(status, body):
    """Give the address of a token endpoint that answers so, and the requests that it had."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            fields = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            requests.append((self.headers["authorization"], fields))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def settings(url):
    return KafkaSettings(
        protocol="SASL_SSL", mechanism="OAUTHBEARER", token_url=url, token_scope="kafka",
        user="id", password="s3cret",
    )  # fmt: skip


def test_an_endpoint_gives_one_token_to_all_clients_of_a_process():
    with endpoint(200, b'{"access_token": "t", "expires_in": 60}') as (url, requests):
        assert {tokens_of(settings(url)).get() for _ in range(3)} == {"t"}
    credentials = "Basic " + base64.b64encode(b"id:s3cret").decode()
    fields = {"grant_type": ["client_credentials"], "scope": ["kafka"]}
    assert requests == [(credentials, fields)]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [(401, b"s3cret", "answered 401"), (200, b"<s3cret>", "gave no access_token")],
)
def test_why_an_endpoint_gave_no_token_is_said_without_secrets(status, body, words):
    with (
        endpoint(status, body) as (url, _),
        pytest.raises(TokenError, match=f"SENDLOG_KAFKA__TOKEN_URL.*{words}") as caught,
    ):
        tokens_of(settings(url)).get()
    assert "s3cret" not in str(caught.value)
