"""Support staff who list addresses and lift them, through an API that is killed and paused.

What the API has answered must come true: an address is listed, or free again, whatever happened to
the API, the worker and the servers since. A command that was not answered may have taken effect.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from http.client import HTTPException
from threading import Event, Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from deploy.local.addresses import free_port
from deploy.local.process import Program, Server
from tests.faults.faults import fault
from tests.faults.oracle import STAFF_TENANT
from tests.faults.stage import pause, resume
from tests.system import DATABASE

REQUEST_SECONDS = 20
#: Between two commands; nobody tries ten times a second whether an API is back.
PAUSE_SECONDS = 0.5
#: Took effect, and is on its way.
APPLIED, ACCEPTED = 200, 202
#: Nothing is known of a command then: nobody answered, or a server was away.
UNANSWERED = {0, 503}


class Staff:
    """An API, and a thread that gives it one command after the other."""

    def __init__(self, stage):
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        self.api = Server(
            Program(
                name="api", command=[sys.executable, "-m", "processor", "api"],
                environment={
                    **stage.environment,
                    "SENDLOG_CLICKHOUSE__URL": stage.database_link.url,
                    "SENDLOG_API__PORT": str(port), "SENDLOG_API__OUTCOME_SECONDS": "2",
                },
                ready=lambda: self._ask("/healthz")[0] == APPLIED,
            ),
            stage.folder / "api.log",
        )  # fmt: skip
        self._stage, self._key = stage, ""
        self._is_over = Event()
        self._thread = Thread(target=self._work, daemon=True)
        #: Whether an address must be listed; None if it may be.
        self.must_be_listed = {}
        #: What the API answered, and what it should not have.
        self.answers = Counter()
        self.unexpected = []

    def start(self):
        rights = ("--tenant", STAFF_TENANT, "--scope", "read", "--scope", "reset")
        self._key = self._stage.command("keys", "create", "staff", *rights).strip()
        self.api.start()
        self._thread.start()

    def end(self):
        """Stop giving commands."""
        self._is_over.set()
        self._thread.join()

    def differences(self):
        """Return what is otherwise than the API has said."""
        listed = {
            row["address"] for row in self._stage.rows(
                f"SELECT address FROM {DATABASE}.suppressions WHERE tenant_id = {{tenant:String}}",
                tenant=STAFF_TENANT,
            )
        }  # fmt: skip
        return self.unexpected + [
            f"{address} {'is' if address in listed else 'is not'} blacklisted"
            for address, must_be in self.must_be_listed.items()
            if must_be not in {None, address in listed}
        ]

    def _work(self):
        for number in range(1 << 60):
            address = f"family-{number}@example.com"
            if self._command(address, "add", must_be=True) and number % 2:
                self._command(address, "reset", must_be=False)
            if self._is_over.wait(PAUSE_SECONDS):
                return

    def _command(self, address, name, *, must_be):
        """Give a command; return whether it was answered."""
        path = f"/api/v1/suppressions/email/{address}"
        status, text = self._ask(f"{path}/{name}", {"reason": "the family asked"})
        self.answers[status] += 1
        is_answered = status in {APPLIED, ACCEPTED}
        self.must_be_listed[address] = must_be if is_answered else None
        if not is_answered and status not in UNANSWERED:
            self.unexpected.append(f"{name} {address}: {status} {text[:300]}")
        if status == APPLIED:
            status, text = self._ask(path)
            if status == APPLIED and json.loads(text)["listed"] != must_be:
                self.unexpected.append(f"{name} {address} took effect, and then: {text[:300]}")
        return is_answered

    def _ask(self, path, body=None):
        """Return status and text of an answer; 0 if there is none."""
        headers = {"Authorization": f"Bearer {self._key}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        try:
            request = Request(self._url + path, headers=headers, data=data)
            with urlopen(request, timeout=REQUEST_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except (OSError, HTTPException):
            return 0, ""


@fault("api killed", weight=3, seconds=(0, 2), parts=["api"])
def api_killed(stage, dice):
    stage.staff.api.kill()
    yield
    stage.staff.api.start()


@fault("api paused", weight=3, seconds=(0.5, 5), parts=["api"])
def api_paused(stage, dice):
    pause(stage.staff.api)
    yield
    resume(stage.staff.api)
