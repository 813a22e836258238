"""The gateway as a parser: whatever request comes is answered, and never with an error of ours."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import partial

from schemas.providers import adapters
from tests import signing
from tests.fuzz.mutations import Example, cut, flip, put_in, repeat
from tests.fuzz.parsers import Parser, signed_examples
from tests.gateway_kafka import Kafka
from tests.unit.processor.gateway.test_gateway import Door, hook


def ask(door: Door, provider: str, example: Example) -> bool:
    headers = dict(example.headers)
    url, method = headers.pop(":url", ""), headers.pop(":method", "POST")
    door.kafka = door.webhooks._producer = Kafka()
    # None is refused for those before it.
    door.webhooks._refusals._hooks._buckets.clear()
    door.webhooks._refusals._addresses._buckets.clear()
    webhook = signing.Hook(method=method, url=url, headers=headers, body=example.payload)
    status, _, _ = door.send(provider, webhook)
    assert status < 500, status
    return status == 200


def gateway_parsers() -> Iterator[Parser]:
    for provider in adapters():
        door = Door(hook(provider, verified=False))
        examples = [
            example._replace(headers={**example.headers, ":url": "https://hooks.example.com/?a=1"})
            for example in signed_examples(provider)
        ]
        yield Parser("gateway", provider, examples, partial(ask, door, provider))
    door = Door(hook("ses", verified=False))
    packed = [
        Example(gzip.compress(payload), {"content-encoding": "gzip"})
        for payload, _ in signed_examples("ses")
    ]
    check = partial(ask, door, "ses")
    yield Parser("gateway", "gzip", packed, check, (flip, cut, put_in, repeat))
