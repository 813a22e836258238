"""What hostile clients do, each from an address of its own on the loopback."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

#: Of requests that an attack has open at once.
PARALLEL = {"nested": 2, "guesses": 4, "junk": 2, "headers": 4, "searches": 20, "unready": 4}
#: Between two requests of one of them: the attacker and who is attacked share two cores.
PAUSE_SECONDS = 0.1
IDLE_CONNECTIONS = 1_000
SLOW_BODIES = 150
NESTED = b"".join(
    b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (depth, depth + 1)
    for depth in range(400)
)


def post(path, body, *headers):
    """Return a POST as bytes."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Connection: close",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def get(path, *headers):
    """Return a GET as bytes."""
    return "\r\n".join(
        [f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
    ).encode()


class Attack:
    """All attacks on a gateway and an API, until it is cancelled; counts what was sent."""

    def __init__(self, *, gateway, api, key, secret, seed):
        self._gateway, self._api, self._key, self._secret = gateway, api, key, secret
        self._dice = random.Random(seed)
        self.sent = {}

    async def run(self):
        """Attack."""
        shapes = {
            "nested": (self._gateway, self._nested), "guesses": (self._gateway, self._guess),
            "junk": (self._gateway, self._junk), "headers": (self._gateway, self._headers),
            "searches": (self._api, self._search), "unready": (self._api, self._unready),
        }  # fmt: skip
        tasks = [
            self._repeat(name, port, make, f"127.0.0.{number}")
            for number, (name, (port, make)) in enumerate(shapes.items(), 10)
            for _ in range(PARALLEL[name])
        ]
        for number, port in ((20, self._gateway), (21, self._api)):
            tasks += [self._hold(port, b"", f"127.0.0.{number}") for _ in range(IDLE_CONNECTIONS)]
            half = b"POST /hooks/acme/postal HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
            text = half + b"x" * 50_000
            tasks += [self._hold(port, text, f"127.0.0.{number + 10}") for _ in range(SLOW_BODIES)]
        await asyncio.gather(*tasks)

    async def _repeat(self, name, port, make, address):
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await self._open(port, address)
                writer.write(make())
                await reader.read(-1)
                writer.close()
            self.sent[name] = self.sent.get(name, 0) + 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _hold(self, port, text, address):
        """Keep a connection that owes bytes; open another when it is cut."""
        while True:
            await asyncio.sleep(10 * self._dice.random())
            with suppress(OSError):
                reader, writer = await self._open(port, address)
                writer.write(text)
                await reader.read(-1)
                writer.close()
            self.sent["held"] = self.sent.get("held", 0) + 1

    @staticmethod
    async def _open(port, address):
        return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))

    def _nested(self):
        body = NESTED + b"a\r\n" * self._dice.randrange(80_000, 300_000)
        return post("/hooks/acme/mailgun", body, "Content-Type: multipart/form-data; boundary=b0")

    def _guess(self):
        tenant = f"t{self._dice.randrange(1000)}"
        return post(f"/hooks/{tenant}/postal", b"{}", "Authorization: Bearer guess")

    def _junk(self):
        body = self._dice.randbytes(self._dice.randrange(100, 50_000))
        return post("/hooks/rival/postal", body, f"Authorization: Bearer {self._secret}")

    def _headers(self):
        return get("/healthz", *(f"X-{number}: {'y' * 90}" for number in range(600)))

    def _search(self):
        word = "".join(self._dice.choices("abcdefgh", k=8))
        path = f"/api/v1/logs/email?tenant=rival&as_of=2026-11-20T00:00:00Z&q={word}"
        return get(path, f"Authorization: Bearer {self._key}")

    def _unready(self):
        return get("/readyz")
