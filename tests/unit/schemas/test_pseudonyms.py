"""Pseudonyms: the same of an address each time, an address themselves, and of nobody else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from schemas.addresses import Address, is_pseudonym, normal_form
from schemas.pseudonyms import Pseudonyms
from tests.paths import ROOT

ANN = Address("t", "email", "ann.lee@example.com")
PSEUDONYMS = Pseudonyms("a secret of tests, long enough for it")
#: Stays the same whatever becomes of the code: people would be logged again otherwise.
PSEUDONYM = "7055e118f2dae54089207d905042aa68@forgotten.invalid"


def test_a_pseudonym_depends_on_secret_tenant_channel_and_address():
    assert PSEUDONYMS.of(ANN) == PSEUDONYM
    others = [
        Pseudonyms("another").of(ANN), PSEUDONYMS.of(ANN._replace(tenant_id="u")),
        PSEUDONYMS.of(ANN._replace(channel="sms")), PSEUDONYMS.of(ANN._replace(address="b@x.y")),
    ]  # fmt: skip
    assert len({PSEUDONYM, *others}) == 5
    assert PSEUDONYMS.check not in {PSEUDONYM[:32], Pseudonyms("another").check}


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_a_pseudonym_is_an_address_in_its_normal_form(channel):
    assert is_pseudonym(PSEUDONYM)
    assert normal_form(channel, PSEUDONYM) == (PSEUDONYM, "")


def test_an_event_keeps_what_figures_go_by_and_nothing_of_the_person():
    event = {
        "tenant_id": "t", "channel": "email", "kind": "bounce", "event_id": "e1",
        "recipient": ANN.address, "message_id": "welcome-ann.lee@example.com", "attempt": 2,
        "provider_message_id": "p1", "campaign": "spring", "subject": "Dear Ann", "ip": "192.0.2.1",
        "diagnostic": "no such user", "bounce_class": "hard", "smtp_code": 550,
        "label": "ann.lee@example.com failed", "tags": ["vip"], "record_id": "F1",
    }  # fmt: skip
    assert PSEUDONYMS.without_person(event, ANN, PSEUDONYM) == {
        **event, "recipient": PSEUDONYM, "event_id": PSEUDONYMS.of_id("e1"),
        "message_id": PSEUDONYMS.of_id("welcome-ann.lee@example.com"), "subject": "", "ip": "",
        "diagnostic": "", "label": "", "tags": [], "record_id": "",
    }  # fmt: skip


def test_the_words_of_our_own_decisions_are_left():
    event = {
        "tenant_id": "t", "channel": "email", "kind": "reinstated", "event_id": "e1",
        "recipient": ANN.address, "message_id": "", "label": "sendlog", "tags": ["reset"],
        "diagnostic": "she wrote to us",
    }  # fmt: skip
    hidden = PSEUDONYMS.without_person(event, ANN, PSEUDONYM)
    assert (hidden["label"], hidden["tags"], hidden["diagnostic"]) == ("sendlog", ["reset"], "")


def test_mailers_make_the_same_pseudonym_by_the_page():
    page = (ROOT / "schemas/TOPICS.md").read_text("utf-8")
    section = page.partition("## People who were forgotten")[2]
    code = section.partition("```python\n")[2].partition("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", code + '\nprint(pseudonym("t", "email", "ann.lee@example.com"))'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == PSEUDONYM
