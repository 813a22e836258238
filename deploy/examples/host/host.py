"""A business application whose page of a family has Sendlog's log as a tab.

Only `embed_token` and the two lines of HTML in `_EMAIL_LOG` are needed; the rest is an application.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import html
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Final

#: Who is signed in; an application takes it from its session.
_PERSON: Final = "Ann Clark"
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Family {family} · Studio</title>
<link rel="stylesheet" href="/studio.css">
</head>
<body>
<header><strong>Studio</strong> <span>{person}</span></header>
<main>
<h1>Family {family}</h1>
<nav aria-label="Family">{tabs}</nav>
{content}
</main>
</body>
</html>
"""
_EMAIL_LOG: Final = """<script src="{sendlog}/static/embed.js" defer></script>
<div data-sendlog-record="family/{family}" data-sendlog-token-url="/families/{family}/token"
     data-sendlog-accent="#b3135f"></div>
"""
_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; background: light-dark(#fff, #12161b); color: light-dark(#222, #eee); }
header { display: flex; justify-content: space-between; padding: .75rem 1rem; color: #fff;
  background: #b3135f; }
main { max-width: 70rem; margin: 0 auto; padding: 0 1rem 2rem; }
nav { display: flex; gap: 1rem; margin-bottom: 1rem; border-bottom: 1px solid #8886; }
nav a { color: inherit; padding: .5rem 0; text-decoration: none; }
nav a[aria-current] { border-bottom: 3px solid light-dark(#b3135f, #ff8fc4); }
"""


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Where Sendlog is, and the key by which this application vouches for its people."""

    sendlog: str
    tenant: str
    key_id: str
    secret: str
    origin: str

    def claims(self, family: str) -> dict[str, object]:
        """Return what a token says of the person who is signed in."""
        return {
            "tenant": self.tenant, "record_type": "family", "record_id": family,
            "actor": _PERSON, "scopes": ["read", "reset"], "origins": [self.origin],
            "locale": "en-US", "time_zone": "America/New_York",
        }  # fmt: skip


def embed_token(secret: str, key_id: str, claims: Mapping[str, object]) -> str:
    """Return a token for ten minutes: a JSON Web Token, signed with the key's embed secret."""
    now = int(time.time())
    header = {"alg": "HS256", "typ": "JWT", "kid": key_id}
    parts = [header, {**claims, "iat": now, "exp": now + 600}]
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
    signature = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_base64url(signature)}"


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Studio(BaseHTTPRequestHandler):
    """The pages of the application; `embedding` is set before it serves."""

    embedding: ClassVar[Embedding]

    def do_GET(self) -> None:
        """Answer a request: a family's page, its tab with the log, or a token for that."""
        if self.path == "/studio.css":
            self._answer(_STYLE, "text/css")
        elif page := re.fullmatch(r"/families/([\w.-]+)(|/email-log|/token)", self.path):
            family, name = page.groups()
            if name == "/token":
                # Here an application checks that the person may see this family.
                claims = self.embedding.claims(family)
                token = embed_token(self.embedding.secret, self.embedding.key_id, claims)
                self._answer(json.dumps({"token": token}), "application/json")
            else:
                self._answer(self._page(family, name), "text/html")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _page(self, family: str, name: str) -> str:
        tabs = "".join(
            f'<a href="/families/{family}{path}" {"aria-current=page" if path == name else ""}>'
            f"{label}</a>"
            for path, label in (("", "Family"), ("/email-log", "Email Log"))
        )
        content = _EMAIL_LOG.format(sendlog=html.escape(self.embedding.sendlog), family=family)
        if not name:
            content = "<p>What the application knows of the family.</p>"
        return _PAGE.format(family=family, person=_PERSON, tabs=tabs, content=content)

    def _answer(self, text: str, media_type: str) -> None:
        body, sendlog = text.encode(), self.embedding.sendlog
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{media_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header(
            "Content-Security-Policy",
            f"default-src 'none'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
            f"script-src {sendlog}; frame-src {sendlog}",
        )
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name in the base
        """Log nothing: an address may hold what is nobody's business."""


def main() -> None:
    """Serve the application until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sendlog", default="http://127.0.0.1:8080", help="where its pages are")
    parser.add_argument("--tenant", default="demo")
    parser.add_argument("--key-id", required=True, help="of a key; its secret is in EMBED_SECRET")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    Studio.embedding = Embedding(
        sendlog=options.sendlog.rstrip("/"), tenant=options.tenant, key_id=options.key_id,
        secret=os.environ["EMBED_SECRET"], origin=f"http://localhost:{options.port}",
    )  # fmt: skip
    with ThreadingHTTPServer(("127.0.0.1", options.port), Studio) as server:
        print(f"open {Studio.embedding.origin}/families/F-1001/email-log", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
