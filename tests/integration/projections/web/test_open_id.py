"""Signing in at an OpenID provider: the code flow, forged tokens, roles, sessions, outages."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from projections.queries import ended_sessions
from projections.queries.audit import AuditFilter, list_audit_lines
from projections.web import open_id
from projections.web.app import build_api
from projections.web.id_tokens import public_keys
from projections.web.sessions import PENDING_COOKIE, SESSION_COOKIE, Sessions
from tests.api import api_with_data, token_of
from tests.certificates import Authority
from tests.embedding import encode
from tests.open_id_issuer import CLIENT_ID, go_and_return, new_key, running_issuer, sign_in_at

SECRET = b"s" * 32


@pytest.fixture(scope="module")
def api(engine):
    return api_with_data(engine.url, "open_id", session_secret=SECRET)


@pytest.fixture
def issuer():
    with running_issuer() as issuer:
        yield issuer


def site_with(api, sign_in, **options):
    """Return an application of its own, as another process has it."""
    return build_api(**{
        "connect": api.connect, "database": api.database, "publish_command": api.publish_command,
        "kafka_answers": bool, "session_secret": SECRET, "open_id": sign_in,
        "outcome_seconds": 0, **options,
    })  # fmt: skip


@pytest.fixture
def visit(api, issuer):
    """Yield a function that gives a client of an application with a provider."""
    clients = []

    def make(*, options=None, **rules):
        app = site_with(api, sign_in_at(issuer, **rules), **(options or {}))
        client = TestClient(app, raise_server_exceptions=False).__enter__()
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


def is_signed_in(client):
    return client.get("/logs/email", follow_redirects=False).status_code == 200


def test_a_person_goes_there_comes_back_to_the_page_and_stands_in_the_history(api, issuer, visit):
    client = visit()
    page = client.get("/logs/email?status=Bounce").text
    assert 'href="/sign-in/provider?next=%2Flogs%2Femail%3Fstatus%3DBounce"' in page
    there = client.get("/sign-in/provider?next=/logs/email?status=Bounce", follow_redirects=False)
    asked = parse_qs(urlsplit(there.headers["location"]).query)
    assert asked["redirect_uri"] == ["http://testserver/sign-in/callback"]
    assert asked["scope"] == ["openid profile email"]
    assert len(asked["code_challenge"][0]) == 43
    assert len({*asked["state"], *asked["nonce"], *asked["code_challenge"]}) == 3
    assert "prompt" not in asked
    reply = client.get("/sign-in/callback", params=issuer.authorize(there.headers["location"]),
                       follow_redirects=False)  # fmt: skip
    assert (reply.status_code, reply.headers["location"]) == (303, "/logs/email?status=Bounce")
    page = client.get("/blacklist/email?address=p1@d1.example").text
    assert "Signed in as Ann Clark (ann@example.com)" in page
    api.commands.clear()
    client.post("/blacklist/email?address=p1@d1.example",
                data={"token": token_of(page), "do": "reset", "reason": "asked"})  # fmt: skip
    assert [(each.actor, each.tenant_id) for each in api.commands] == [
        ("Ann Clark (ann@example.com)", "a")
    ]
    assert "/me" not in issuer.requests  # the token said all


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(issuer, visit):
    client = visit(options={"is_https": True})
    there = client.get("/sign-in/provider", follow_redirects=False)
    pending = there.headers["set-cookie"]
    assert pending.startswith(f"{PENDING_COOKIE}=")
    assert all(each in pending for each in ("HttpOnly", "SameSite=lax", "Secure", "Path=/sign-in;",
                                            "Max-Age=600"))  # fmt: skip
    client = visit()
    reply = go_and_return(client, issuer)
    cookies = {each.partition("=")[0]: each for each in reply.headers.get_list("set-cookie")}
    assert "Max-Age=0" in cookies[PENDING_COOKIE]
    session = cookies[SESSION_COOKIE]
    assert all(each in session for each in ("HttpOnly", "SameSite=lax"))
    assert 14_390 <= int(session.partition("Max-Age=")[2].partition(";")[0]) <= 14_400


@pytest.mark.parametrize("place", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_nobody_is_led_to_another_site(issuer, visit, place):
    client = visit()
    there = client.get("/sign-in/provider", params={"next": place}, follow_redirects=False)
    assert there.headers["location"].startswith(f"{issuer.url}/authorize?")
    reply = client.get("/sign-in/callback", params=issuer.authorize(there.headers["location"]),
                       follow_redirects=False)  # fmt: skip
    assert (reply.status_code, reply.headers["location"]) == (303, "/")


def test_what_was_typed_outlasts_the_way_there(issuer, visit):
    client = visit()
    page = f"/blacklist/email?address=p1@d1.example&reason={'because ' * 128}".replace(" ", "%20")
    for next_url, location in ((page, page), ("/logs/email?q=" + "x" * 3000, "/")):
        there = client.get("/sign-in/provider", params={"next": next_url}, follow_redirects=False)
        reply = client.get(
            "/sign-in/callback", params=issuer.authorize(there.headers["location"]),
            follow_redirects=False,
        )  # fmt: skip
        assert (reply.status_code, reply.headers["location"]) == (303, location)


def test_the_host_of_a_request_does_not_choose_where_the_provider_leads(issuer, visit):
    there = visit().get("/sign-in/provider", headers={"Host": "evil.example"},
                        follow_redirects=False)  # fmt: skip
    asked = parse_qs(urlsplit(there.headers["location"]).query)
    assert asked["redirect_uri"] == ["http://testserver/sign-in/callback"]


def unsigned(_, claims):
    return f"{encode({'alg': 'none'})}.{encode(claims)}."


def hs256_by(secret):
    def forge(_, claims):
        signed = f"{encode({'alg': 'HS256', 'kid': 'k1'})}.{encode(claims)}"
        return f"{signed}.{encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"

    return forge


def test_tokens_that_anybody_could_make_are_refused(api, issuer, visit):
    public_pem = issuer.keys[0].as_pem(private=False)
    stranger = RSAKey.generate_key(2048, {"kid": "k1"})

    def by_a_stranger(header, claims):
        return open_id_token(header, claims, stranger)

    def altered(header, claims):
        head, _, signature = issuer.sign(header, claims).split(".")
        return f"{head}.{encode(claims | {'name': 'Boss', 'groups': ['helpers']})}.{signature}"

    def with_a_key_of_its_own(header, claims):
        own = {"jwk": stranger.as_dict(private=False), "jku": "https://evil.example/keys"}
        return open_id_token(header | own, claims, stranger)

    forgeries = {
        "alg none": unsigned, "HS256 by the public key": hs256_by(public_pem),
        "HS256 by the client's secret": hs256_by(b"s3cret of the client"),
        "another key with this id": by_a_stranger, "altered claims": altered,
        "a key in the header": with_a_key_of_its_own, "no token": lambda *_: "x.y.z",
        "an empty one": lambda *_: "", "an odd key": lambda _, claims: odd_key(claims),
        "an encrypted one": lambda *_: "a.b.c.d.e",
    }  # fmt: skip
    client = visit()
    for name, forge in forgeries.items():
        issuer.forge = forge
        reply = go_and_return(client, issuer)
        assert reply.status_code == 502, name
        assert "cannot be believed" in reply.text, name
        assert not is_signed_in(client), name
    issuer.forge = None
    assert go_and_return(client, issuer).status_code == 303
    assert is_signed_in(client)


def odd_key(claims):
    return f"{encode({'alg': 'RS256', 'kid': {'x': []}})}.{encode(claims)}.AAAA"


def open_id_token(header, claims, key):

    registry = jws.JWSRegistry(algorithms=["RS256"], strict_check_header=False)
    return jws.serialize_compact(header, json.dumps(claims).encode(), key, registry=registry)


@pytest.mark.parametrize(
    ("algorithm", "make"),
    [
        ("PS256", lambda: RSAKey.generate_key(2048, {"kid": "k"})),
        ("ES256", lambda: ECKey.generate_key("P-256", {"kid": "k"})),
        ("EdDSA", lambda: OKPKey.generate_key("Ed25519", {"kid": "k"})),
    ],
)
def test_a_token_may_be_signed_with_any_key_that_only_the_provider_has(
    issuer, visit, algorithm, make
):
    key = make()
    issuer.keys = [new_key("k1"), key]  # beside another, and one that is for encryption
    other = RSAKey.generate_key(2048, {"kid": "k", "use": "enc"})
    issuer.keys.insert(0, other)
    issuer.forge = lambda header, claims: jwt.encode(
        header | {"alg": algorithm}, claims, key, algorithms=[algorithm]
    )
    assert go_and_return(visit(), issuer).status_code == 303
    issuer.keys = [new_key("k1"), other]
    assert go_and_return(visit(), issuer).status_code == 502


def test_a_key_set_that_is_none_is_no_key(issuer, visit):
    for document in ([], {}, {"keys": 7}, {"keys": [7, {}, {"kty": "x"}, {"kty": "RSA"}]}):
        assert public_keys(document) == []


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"}, {"iss": None}, {"aud": "another client"}, {"aud": None},
        {"aud": [CLIENT_ID, "another"]}, {"azp": "another client"}, {"nonce": "another sign-in"},
        {"nonce": None}, {"exp": None}, {"exp": "never"}, {"iat": None}, {"sub": None}, {"sub": 7},
        {"at_hash": "wrong"},
    ],
    ids=str,
)  # fmt: skip
def test_a_token_that_is_not_of_this_sign_in_is_refused(issuer, visit, claims):
    client = visit()
    issuer.claims |= claims
    is_refused(client, issuer)


@pytest.mark.parametrize("times", [{"exp": -75}, {"iat": 600}, {"nbf": 600}], ids=str)
def test_a_token_of_another_time_is_refused(issuer, visit, times):
    client = visit()
    issuer.times = times
    is_refused(client, issuer)


def is_refused(client, issuer):
    with capture_logs() as logs:
        reply = go_and_return(client, issuer)
    assert (reply.status_code, is_signed_in(client)) == (502, False)
    [line] = [each for each in logs if each["event"] == "sign_in_refused"]
    assert line["because"] == "token"
    assert "evil" not in str(line)


@pytest.mark.parametrize("times", [{"exp": -45}, {"iat": 45}, {"nbf": 45}], ids=str)
def test_clocks_may_differ_by_a_minute(issuer, visit, times):
    client = visit()
    issuer.times = times
    assert go_and_return(client, issuer).status_code == 303


def test_a_new_key_of_the_provider_is_fetched_and_an_unknown_one_not_again_and_again(
    issuer, visit, monkeypatch
):
    monkeypatch.setattr(open_id, "PROVIDER_RETRY_SECONDS", 0.0)
    client = visit()
    assert go_and_return(client, issuer).status_code == 303
    issuer.keys.append(new_key("k2"))
    assert go_and_return(client, issuer).status_code == 303
    assert issuer.requests.count("/keys") == 2
    monkeypatch.setattr(open_id, "PROVIDER_RETRY_SECONDS", 60.0)
    issuer.forge = lambda header, claims: issuer.sign(header | {"kid": "k9"}, claims)
    assert [go_and_return(client, issuer).status_code for _ in range(3)] == [502] * 3
    assert issuer.requests.count("/keys") == 2
    assert issuer.requests.count("/.well-known/openid-configuration") == 1


def test_a_sign_in_is_finished_only_by_the_browser_that_began_it(issuer, visit):
    client, other = visit(), visit()
    there = client.get("/sign-in/provider", follow_redirects=False).headers["location"]
    answer = issuer.authorize(there)
    for wrong in (answer | {"state": "x"}, answer | {"state": ""}, answer | {"state": "é"}):
        reply = client.get("/sign-in/callback", params=wrong)
        assert (reply.status_code, "not begun here" in reply.text) == (403, True)
        client.get("/sign-in/provider", follow_redirects=False)
    assert other.get("/sign-in/callback", params=answer).status_code == 403
    # The first window's sign-in is over, too: another was begun since.
    assert client.get("/sign-in/callback", params=answer).status_code == 403
    assert "/token" not in issuer.requests
    assert not is_signed_in(client)


def test_a_sign_in_that_takes_too_long_or_comes_twice_is_refused(api, issuer, visit):
    client = visit()
    there = client.get("/sign-in/provider", follow_redirects=False).headers["location"]
    answer = issuer.authorize(there)
    cookie = client.cookies[PENDING_COOKIE]
    late = Sessions(SECRET, clock=lambda: time.time() + 601)
    assert late.read_pending(cookie, answer["state"]) is None
    assert client.get("/sign-in/callback", params=answer, follow_redirects=False).status_code == 303
    assert client.get("/sign-in/callback", params=answer).status_code == 403
    client.cookies.set(PENDING_COOKIE, cookie, path="/sign-in")  # as who has stolen both
    assert client.get("/sign-in/callback", params=answer).status_code == 502


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        ("access_denied", 403, "it was cancelled, or refused"),
        ("server_error", 502, "answered with an error"),
        ("<script>alert(1)</script>", 502, "answered with an error"),
    ],
)
def test_what_the_provider_refuses_is_said_in_words_of_our_own(issuer, visit, error, status, words):
    client = visit()
    there = client.get("/sign-in/provider?next=/logs/sms", follow_redirects=False)
    state = issuer.authorize(there.headers["location"])["state"]
    reply = client.get("/sign-in/callback", params={
        "state": state, "error": error, "error_description": "<b>call 555-0100</b>",
    })  # fmt: skip
    assert (reply.status_code, words in reply.text) == (status, True)
    assert "555" not in reply.text
    assert error not in reply.text
    assert "next=%2Flogs%2Fsms" in reply.text  # a second try leads to the page, too


def test_an_answer_of_another_provider_is_refused(issuer, visit):
    client = visit()
    assert go_and_return(client, issuer, iss="https://evil.example").status_code == 502
    assert go_and_return(client, issuer, iss=issuer.url).status_code == 303
    issuer.metadata = {"authorization_response_iss_parameter_supported": True}
    assert go_and_return(visit(), issuer).status_code == 502
    assert "/token" in issuer.requests


def test_somebody_without_a_role_is_told_what_to_ask_for(issuer, visit):
    client = visit()
    issuer.claims["groups"] = ["<i>staff</i>", "all", 7]
    reply = go_and_return(client, issuer)
    assert reply.status_code == 403
    assert "Ask whoever runs Sendlog for a role" in reply.text
    assert "&lt;i&gt;staff&lt;/i&gt;" in reply.text
    assert not is_signed_in(client)
    other = client.get("/sign-in/provider?other=true", follow_redirects=False)
    assert "prompt=select_account" in other.headers["location"]
    for groups in (None, [], "helper", {"helpers": 1}):
        issuer.claims["groups"] = groups
        assert go_and_return(client, issuer).status_code == 403


def test_only_verified_addresses_of_the_domains_may_sign_in(issuer, visit):
    client = visit(email_domains=frozenset({"example.com"}))
    for email, verified, status in (
        ("ann@example.com", True, 303), ("ann@EXAMPLE.com", True, 303),
        ("ann@example.com", False, 403), ("ann@example.com", None, 403),
        ("ann@example.com.evil.example", True, 403), ("ann@sub.example.com", True, 403),
        (None, True, 403), (["ann@example.com"], True, 403),
    ):  # fmt: skip
        issuer.claims |= {"email": email, "email_verified": verified}
        reply = go_and_return(client, issuer)
        assert reply.status_code == status, (email, verified)
    assert "only people with a confirmed address of example.com may sign in" in reply.text


def test_the_provider_is_asked_for_what_its_token_does_not_say(issuer, visit):
    issuer.claims |= {"groups": None, "name": None}
    issuer.user_info = {"name": "Ann of the user info", "roles": {"here": ["helpers"]}}
    client = visit(groups_claim="roles.here")
    assert go_and_return(client, issuer).status_code == 303
    assert "Ann of the user info (ann@example.com)" in client.get("/logs/email").text
    issuer.user_info["sub"] = "somebody else"
    assert go_and_return(visit(groups_claim="roles.here"), issuer).status_code == 502


def test_an_unverified_address_is_no_group_and_no_name_hides_who_it_is(issuer, visit):
    people = {"groups_claim": "email", "roles": {"ann@example.com": [("a", "analyst")]}}
    client = visit(**people)
    assert go_and_return(client, issuer).status_code == 303
    issuer.claims["email_verified"] = False
    assert go_and_return(client, issuer).status_code == 403
    issuer.claims |= {"name": "sendlog\r\n\x00", "email": None}
    client = visit()
    assert go_and_return(client, issuer).status_code == 303
    assert 'Signed in as sendlog"' in client.get("/logs/email").text


def test_somebody_in_several_tenants_chooses_and_has_the_role_of_each(api, issuer, visit):
    roles = {"helpers": [("a", "support")], "counters": [("b", "analyst")]}
    client = visit(roles=roles)
    issuer.claims["groups"] = ["helpers", "counters", "unknown"]
    assert go_and_return(client, issuer).headers["location"] == "/"
    choice = client.get("/logs/email")
    assert choice.url.path == "/tenants"
    assert [each in choice.text for each in ("tenant=a", "tenant=b", "tenant=c")] == [
        True, True, False,
    ]  # fmt: skip
    paths = {"/logs/email": (200, 200, 403), "/logs/email/export": (403, 200, 403)}
    for path, statuses in paths.items():
        for tenant, status in zip("abc", statuses, strict=True):
            assert client.get(f"{path}?tenant={tenant}").status_code == status, (path, tenant)
    api.commands.clear()
    for tenant, status in (("b", 403), ("a", 303)):
        url = f"/blacklist/email?address=p1@d1.example&tenant={tenant}"
        form = {"token": token_of(client.get(url).text), "do": "add", "reason": "x"}
        assert client.post(url, data=form, follow_redirects=False).status_code == status
    assert [each.tenant_id for each in api.commands] == ["a"]


def test_only_an_admin_of_all_tenants_sees_dead_letters(issuer, visit):
    for tenant, role, status in (("*", "admin", 200), ("*", "manager", 403), ("a", "admin", 403)):
        client = visit(roles={"helpers": [(tenant, role)]})
        go_and_return(client, issuer)
        assert client.get("/dead-letters").status_code == status, (tenant, role)
        assert client.get("/logs/email?tenant=b").status_code == (200 if tenant == "*" else 403)
    # An admin of one tenant who reads in all is no operator.
    client = visit(roles={"helpers": [("*", "analyst"), ("a", "admin")]})
    go_and_return(client, issuer)
    assert client.get("/dead-letters").status_code == 403


def test_a_provider_that_is_away_stops_nobody_who_has_a_key(api, issuer, visit, monkeypatch):
    issuer.is_away = True
    client = visit()
    page = client.get("/sign-in")
    assert page.status_code == 200
    assert "Not available now" in page.text
    assert "/sign-in/provider" not in page.text
    assert client.get("/sign-in/provider").status_code == 503
    for path in ("/sign-in", "/sign-in", "/sign-in/provider"):
        client.get(path)
    assert len(issuer.requests) == 1  # it is left alone for a while
    client.post("/sign-in", data={"token": token_of(page.text), "key": api.keys["a"]})
    assert is_signed_in(client)
    client.cookies.clear()
    issuer.is_away = False
    assert "Not available now" in client.get("/sign-in").text
    monkeypatch.setattr(open_id, "PROVIDER_RETRY_SECONDS", 0.0)
    assert 'href="/sign-in/provider' in client.get("/sign-in").text
    assert go_and_return(client, issuer).status_code == 303
    # Who is signed in needs no provider.
    issuer.is_away = True
    assert is_signed_in(client)


def test_only_a_provider_with_a_certificate_that_is_trusted_is_asked(tmp_path, api):
    authority = Authority(tmp_path)
    with running_issuer(authority.issue("provider")) as issuer, capture_logs() as logs:
        for ca, is_trusted in ((None, False), (authority.file, True)):
            with TestClient(site_with(api, sign_in_at(issuer, ca))) as client:
                assert ("/sign-in/provider" in client.get("/sign-in").text) is is_trusted
        assert go_and_return(client, issuer).status_code == 303
    [line] = [each for each in logs if each["event"] == "openid_provider_away"]
    assert "is signed by no CA of SENDLOG_OIDC__CA_FILE, or the system's" in line["error"]


def test_a_provider_that_goes_away_amid_a_sign_in_is_said_to_be_away(issuer, visit):
    client = visit()
    there = client.get("/sign-in/provider", follow_redirects=False).headers["location"]
    answer = issuer.authorize(there)
    issuer.is_away = True
    reply = client.get("/sign-in/callback", params=answer)
    assert (reply.status_code, "does not answer now" in reply.text) == (503, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://evil.example"}, {"token_endpoint": "http://example.com/token"},
        {"jwks_uri": "file:///etc/passwd"}, {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_provider_that_describes_itself_wrongly_is_not_used(issuer, visit, wrong):
    issuer.metadata = wrong
    with capture_logs() as logs:
        assert "Not available now" in visit().get("/sign-in").text
    assert [each["event"] for each in logs] == ["openid_provider_away"]
    assert "evil" not in str(logs)


def test_the_client_shows_itself_as_the_provider_takes_it(issuer, visit):
    issuer.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert go_and_return(visit(), issuer).status_code == 303


def test_a_session_lasts_over_a_restart_and_ends_with_its_time_and_its_roles(api, issuer, visit):
    client = visit()
    go_and_return(client, issuer)
    cookie = client.cookies[SESSION_COOKIE]
    session = Sessions(SECRET).read(cookie)
    assert (session.person.name, session.person.groups) == ("Ann Clark", ("helpers",))

    def status(sign_in, **options):
        app = site_with(api, sign_in, **options)
        with TestClient(app, cookies={SESSION_COOKIE: cookie}) as other:
            return other.get("/logs/email", follow_redirects=False).status_code

    sign_in = sign_in_at(issuer)
    assert status(sign_in) == 200
    assert status(sign_in, session_secret=b"t" * 32) == 303
    # What its groups may do is looked up each time, in the settings of now.
    assert status(sign_in_at(issuer, roles={"others": [("a", "admin")]})) == 303
    assert status(sign_in_at(issuer, roles={"helpers": [("b", "support")]})) == 200
    elsewhere = replace(sign_in.provider.client, issuer="https://other.example")
    assert status(replace(sign_in, provider=open_id.OpenIdProvider(elsewhere))) == 303
    assert status(None) == 303
    for moment, is_good in ((session.expires_at - 1, True), (session.expires_at + 1, False)):
        later = Sessions(SECRET, clock=lambda moment=moment: moment)
        assert (later.read(cookie) is not None) is is_good


def test_signing_out_ends_the_session_everywhere_and_leads_to_the_provider(api, issuer, visit):
    client = visit()
    go_and_return(client, issuer)
    cookies = dict(client.cookies)
    token = token_of(client.get("/logs/email").text)
    reply = client.post("/sign-out", data={"token": token})
    assert reply.status_code == 200
    expected = (f"{issuer.url}/logout?theme=plain&client_id=sendlog"
                "&post_logout_redirect_uri=http%3A%2F%2Ftestserver%2Fsign-in")  # fmt: skip
    assert reply.headers["refresh"] == f"0; url={expected}"
    assert not is_signed_in(client)
    ended_sessions_are_read(client.app)
    for app in (client.app, site_with(api, sign_in_at(issuer))):
        with TestClient(app, cookies=cookies) as thief:
            assert not is_signed_in(thief)


def ended_sessions_are_read(app):
    app.state.app_state.ended_sessions._loaded_at -= ended_sessions.ENDED_CACHE_SECONDS


def test_signing_out_without_a_way_to_do_so_there_ends_at_our_page(issuer, visit):
    issuer.metadata = {"end_session_endpoint": None}
    client = visit()
    go_and_return(client, issuer)
    token = token_of(client.get("/logs/email").text)
    reply = client.post("/sign-out", data={"token": token}, follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "/sign-in")


def test_a_person_has_a_rate_of_their_own(issuer, visit):
    client = visit(options={"rate": 0.01, "burst": 3})
    go_and_return(client, issuer)
    assert [client.get("/logs/email").status_code for _ in range(4)] == [200, 200, 200, 429]
    issuer.claims["sub"] = "u2"
    go_and_return(client, issuer)
    assert client.get("/logs/email").status_code == 200


def test_somebody_with_too_many_groups_is_told_so(issuer, visit):
    groups = [f"{number:036}" for number in range(200)]
    client = visit(roles={group: [(group, "support")] for group in groups})
    issuer.claims["groups"] = groups
    reply = go_and_return(client, issuer)
    assert (reply.status_code, "too many groups" in reply.text) == (403, True)
    issuer.claims["groups"] = groups[:40]
    assert go_and_return(client, issuer).status_code == 303
    assert "Whose log?" in client.get("/logs/email").text


def test_without_a_provider_there_is_no_way_to_one(api):
    with api.client(None) as client:
        assert "provider" not in client.get("/sign-in").text
        assert client.get("/sign-in/provider").status_code == 404
        assert client.get("/sign-in/callback?code=x&state=y").status_code == 404


def test_no_secret_name_or_address_is_logged(issuer, visit):
    with capture_logs() as logs:
        client = visit()
        go_and_return(client, issuer)
        issuer.claims["nonce"] = "other"
        go_and_return(client, issuer)
    text = str(logs)
    assert "sign_in_refused" in text
    for secret in ("Ann", "ann@", "s3cret", "helpers", "u1"):
        assert secret not in text


def test_what_a_person_does_is_audited_under_their_name(api, issuer, visit):
    client = visit()
    issuer.claims["name"] = "Zoe Audited"
    assert go_and_return(client, issuer).status_code == 303
    page = client.get("/records/family/1").text
    client.post("/sign-out", data={"token": token_of(page)}, follow_redirects=False)
    issuer.claims["groups"] = ["of nobody"]
    assert go_and_return(client, issuer).status_code == 403
    client.app.state.app_state.audit_trail.flush()

    def lines(tenant, **asked):
        rows = list_audit_lines(api.connect(), api.database, tenant, AuditFilter(**asked), limit=99)
        return [(row["action"], row["object"], row["outcome"]) for row in rows][::-1]

    assert lines("a", actor="zoe audited") == [
        ("sign_in", "", "done"), ("look", "family/1", "done"), ("sign_out", "", "done"),
    ]  # fmt: skip
    assert ("sign_in", "", "refused") in lines("*", action="sign_in")
