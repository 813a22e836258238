"""A small OpenID provider that a test rules over: it signs what it is told to, or forges it."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from projections.tls import TlsFiles
from projections.web.open_id import OpenIdClient, OpenIdProvider, OpenIdSignIn
from projections.web.people import GroupRole, PeopleRules

CLIENT_ID, CLIENT_SECRET = "sendlog", "s3cret of the client"


class Issuer:
    """What the provider says and does; tests change its attributes.

    `claims` are added to those of every token (None: left out), `times` too, in seconds from the
    moment when it is made; `forge` makes the token of header
    and claims instead of a signature by the newest key. `requests` are the paths asked for.
    """

    def __init__(self, url):
        self.url = url
        self.keys = [new_key("k1")]
        self.claims = {"sub": "u1", "name": "Ann Clark", "email": "ann@example.com",
                       "email_verified": True, "groups": ["helpers"]}  # fmt: skip
        self.times = {}
        self.user_info = {}
        self.metadata = {}
        self.forge = None
        self.is_away = False
        self.requests = []
        self.codes = {}

    def document(self):
        return {
            "issuer": self.url, "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys",
            "userinfo_endpoint": f"{self.url}/me",
            "end_session_endpoint": f"{self.url}/logout?theme=plain", **self.metadata,
        }  # fmt: skip

    def authorize(self, url):
        """Return what the browser brings back from an authorization URL: code and state."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert url.startswith(f"{self.url}/authorize?")
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def token(self, form, authorization):
        """Return status and answer of the token endpoint."""
        asked = self.codes.pop(form.get("code"), None)
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        by_post = (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        if authorization != f"Basic {basic}" and not by_post:
            return 401, {"error": "invalid_client"}
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or form["redirect_uri"] != asked["redirect_uri"]
        ):
            return 400, {"error": "invalid_grant", "error_description": "<b>untrusted</b>"}
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300,
                  "nonce": asked["nonce"], **self.claims,
                  **{name: now + seconds for name, seconds in self.times.items()}}  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "kid": self.keys[-1].kid}
        token = self.forge(header, claims) if self.forge else self.sign(header, claims)
        return 200, {"access_token": "at", "token_type": "Bearer", "id_token": token}

    def sign(self, header, claims):
        return jwt.encode(header, claims, self.keys[-1])

    def answer(self, path, form, authorization):
        match path:
            case "/.well-known/openid-configuration":
                return 200, self.document()
            case "/keys":
                return 200, {"keys": [key.as_dict(private=False) for key in self.keys]}
            case "/token":
                return self.token(form, authorization)
            case "/me":
                return 200, {"sub": "u1", **self.user_info}
        return 404, {}


def new_key(key_id):
    return RSAKey.generate_key(2048, {"kid": key_id, "use": "sig"})


@contextmanager
def running_issuer(pair=None):
    """Run a provider on a free port of loopback, by https with a pair of files; yield it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = urlsplit(self.path).path
            issuer.requests.append(path)
            if issuer.is_away:
                self.close_connection = True
                return
            length = int(self.headers.get("content-length") or 0)
            form = dict(parse_qs(self.rfile.read(length).decode()))
            fields = {name: values[0] for name, values in form.items()}
            status, body = issuer.answer(path, fields, self.headers.get("authorization"))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http{'s' if pair else ''}://127.0.0.1:{server.server_port}")
    if pair:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def sign_in_at(issuer, ca=None, **rules):
    """Return how an application lets people sign in at an issuer; `rules` are of `PeopleRules`."""
    roles = rules.pop("roles", {"helpers": [("a", "support")]})
    client = OpenIdClient(
        issuer=issuer.url, client_id=CLIENT_ID, client_secret=lambda: CLIENT_SECRET,
        public_url="http://testserver", tls=TlsFiles(group="SENDLOG_OIDC", ca=ca),
    )  # fmt: skip
    people = PeopleRules(
        group_roles={group: [GroupRole(*each) for each in all_] for group, all_ in roles.items()},
        **rules,
    )
    return OpenIdSignIn(
        provider=OpenIdProvider(client), people=people, button="Sign in with Studio Login",
        session_seconds=4 * 3600,
    )  # fmt: skip


def go_and_return(client, issuer, path="/sign-in/provider", **answer):
    """Go to the provider and come back; return the answer of the callback."""
    there = client.get(path, follow_redirects=False)
    back = issuer.authorize(there.headers["location"]) | answer
    return client.get(f"/sign-in/callback?{urlencode(back)}", follow_redirects=False)
