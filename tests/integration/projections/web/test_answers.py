"""What answers of the API have beside their documents, and the reference that people read."""

from __future__ import annotations

import re

import pytest

from tests.api import api_with_data

LOG = "/api/v1/logs/email"


@pytest.fixture(scope="module")
def api(engine):
    return api_with_data(engine.url, "api_headers", rate=0.5, burst=40)


def test_an_answer_says_what_is_left_of_the_rate_of_its_key(api):
    with api.client("a") as client:
        first, second = (client.get(f"{LOG}?limit=1").headers for _ in range(2))
        assert first["RateLimit-Policy"] == '"key";q=40;w=80'
        left, again = (
            int(re.fullmatch(r'"key";r=(\d+);t=\d+', each["RateLimit"])[1])
            for each in (first, second)
        )
        assert left - 1 <= again <= left <= 40
        replies = [client.get("/api/v1/suppressions") for _ in range(60)]
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert refused.headers["RateLimit"].startswith('"key";r=0;t=')
    assert refused.headers["Retry-After"] in {"1", "2"}
    with api.client(None) as client:
        assert "RateLimit" not in client.get(LOG).headers


def test_an_answer_that_is_known_is_not_sent_again(api):
    with api.client("b") as client:
        reply = client.get(LOG)
        tag = reply.headers["ETag"]
        for known in (tag, f'"other", {tag}', "*"):
            again = client.get(LOG, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert client.get(LOG, headers={"If-None-Match": 'W/"other"'}).json() == reply.json()
        assert client.get(f"{LOG}?limit=1").headers["ETag"] != tag
        assert "ETag" not in client.get(f"{LOG}/export").headers
        assert "ETag" not in client.get(f"{LOG}?limit=0").headers


def test_a_get_may_be_a_head(api):
    with api.client("both") as client:
        whole = client.get(f"{LOG}?tenant=a")
        head = client.head(f"{LOG}?tenant=a")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Length"] == whole.headers["Content-Length"]
        assert head.headers["ETag"] == whole.headers["ETag"]
        assert client.head("/healthz").status_code == 200
        assert client.head(f"{LOG}?tenant=nobody").status_code == 403
        assert client.head(f"{LOG}/export?tenant=a").status_code == 405


def test_documents_and_files_are_compressed_and_pages_with_forms_are_not(api):
    with api.client("a reader") as client:
        document = client.get(LOG)
        assert document.headers["Content-Encoding"] == "gzip"
        assert int(document.headers["Content-Length"]) * 5 < len(document.content)
        assert "Accept-Encoding" in document.headers["Vary"]
        plain = client.get(LOG, headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in plain.headers
        assert plain.json() == document.json()
        for path, encoding in (
            ("/static/sendlog.css", "gzip"), ("/sign-in", None), ("/logs/email?q=invoice", None),
            (f"{LOG}/export", None),
        ):  # fmt: skip
            assert client.get(path).headers.get("Content-Encoding") == encoding, path


def test_the_reference_has_every_endpoint_and_parameter_of_the_document(api):
    with api.client(None) as client:
        document = client.get("/api/v1/openapi.json").json()
        page = client.get("/api")
    assert page.status_code == 200
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f"{method.upper()} {path}" in page.text
            for parameter in operation.get("parameters", []):
                schema = parameter["schema"]
                shown = {"examples", "enum", "default"} & schema.keys()
                assert shown, (path, parameter["name"])
                assert f"<code>{parameter['name']}</code>" in page.text
    for name in document["components"]["schemas"]:
        assert f'id="{name}"' in page.text
    assert {tag["name"] for tag in document["tags"]} >= {
        tag for methods in document["paths"].values() for each in methods.values()
        for tag in each["tags"]
    }  # fmt: skip
