"""The page for contributors: its links point where they say, and its examples work."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import projections.tables
from processor.policy import suppression_rules
from projections.clickhouse.ddl import Target, folding_view, state_table
from projections.status import fold_message, read_row
from tests import strategies
from tests.address_life import HOURS, START, AddressLife, command, message_event

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
LOG, RULE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
#: [text](file#Lnumber), and the name that the line has: the text, or the one after the link.
LINKS = re.findall(r"\[([^\]]+)\]\(([\w/.]+)#L(\d+)\)(?:\s+`([^`]+)`)?", PAGE)


def documents():
    return [
        path for path in sorted(ROOT.rglob("*.md"))
        if not {".venv", "node_modules", ".data"} & set(path.relative_to(ROOT).parts)
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "file", "line", "after"), LINKS)
def test_each_hop_of_a_bounce_is_on_the_line_that_the_walk_names(text, file, line, after):
    name = after or text.strip("`")
    lines = (ROOT / file).read_text("utf-8").splitlines()
    places = [number for number, each in enumerate(lines, 1) if name in each]
    assert int(line) in places, f"{name} is on {places} of {file}"


def test_the_walk_goes_through_six_files():
    assert len({file for _, file, _, _ in LINKS}) == 6


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_the_documents_leads_somewhere(path):
    text = path.read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in anchors_of(linked), target


def anchors_of(path):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings
    }  # fmt: skip


@pytest.fixture
def unsubscribe_log(tmp_path, monkeypatch):
    """Put the page's log into the package, and return it."""
    (tmp_path / "unsubscribe_log.py").write_text(LOG, "utf-8")
    path = [*projections.tables.__path__, str(tmp_path)]
    monkeypatch.setattr(projections.tables, "__path__", path)
    projections.tables.projections.cache_clear()
    yield projections.tables.projections()["unsubscribe_log"]
    monkeypatch.undo()
    projections.tables.projections.cache_clear()
    del sys.modules["projections.tables.unsubscribe_log"]


def test_the_log_of_the_page_folds_and_has_a_status(unsubscribe_log):
    sent = {
        "channel": "email", "kind": "sent", "message_id": "m", "recipient": "jo@example.com",
        "occurred_at": START, "campaign": "autumn",
    }  # fmt: skip
    unsubscribed = {**sent, "kind": "unsubscribe", "occurred_at": START + HOURS}

    def row(*events):
        state = fold_message(unsubscribe_log, strategies.complete(list(events), "acme"))
        key = {"tenant_id": "acme", "recipient": "jo@example.com", "message_id": "m"}
        return read_row(unsubscribe_log, key, state)

    assert row(sent)["status"] == "Subscribed"
    log_row = row(unsubscribed, sent)
    assert (log_row["status"], log_row["status_reason"]) == ("Unsubscribed", "unsubscribed")
    assert (log_row["date"], log_row["campaign"]) == (START, "autumn")
    assert log_row["unsubscribed_at"] == START + HOURS


def test_the_log_of_the_page_has_tables_of_its_own(unsubscribe_log):
    target = Target("db")
    state = target.stored(unsubscribe_log.state_table)
    assert "unsubscribed_at" in state_table(unsubscribe_log, target, state)
    assert "unsubscribed_at" in folding_view(unsubscribe_log, target, f"{state}_fold", state)


def test_the_rule_of_the_page_lists_an_address_and_a_reset_lifts_it(monkeypatch):
    rules = dict(suppression_rules.EVENT_RULES)
    monkeypatch.setattr(suppression_rules, "EVENT_RULES", rules)
    exec(RULE, {"EVENT_RULES": rules})
    failure = message_event("failure", START, reason_code="no-such-domain")
    jo = AddressLife()
    assert jo.take(failure) == ["suppressed"]
    assert jo.take(failure) == []
    assert jo.rules == ["hard_bounce"]
    assert jo.take(command("reset", START + HOURS)) == ["reinstated"]
    assert not jo.rules
