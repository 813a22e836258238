"""The page on personal data names every table and topic, and what holds them to it."""

from __future__ import annotations

import re

from processor.kafka.topics import declared_topics, feed_provider
from processor.settings import KafkaSettings
from projections.clickhouse.ddl import RECORD_INDEX_TABLE, Target
from projections.clickhouse.person import IMPERSONAL_TABLES, PersonRows
from projections.tables import projections, tables, views
from schemas.addresses import Address
from tests.paths import ROOT

PAGE = (ROOT / "deploy/PERSONAL_DATA.md").read_text()
TABLES = {*tables(), *(log.state_table for log in projections().values()), RECORD_INDEX_TABLE}


def section(title):
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def names_in(text):
    """Return the names in the first column of a section's table."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_the_page_names_every_table_and_every_view():
    text = section("Tables in ClickHouse")
    assert names_in(text) == TABLES
    assert {*views(), *projections()} <= set(re.findall(r"`([^`]+)`", text))


def test_the_page_names_every_topic():
    declared = declared_topics(KafkaSettings(mailers={"mailer": ["acme"]}))
    names = {topic.name for topic in declared if not feed_provider(topic.name)}
    topics = {name.replace(".mailer", ".MAILER") for name in names}
    feeds = {"email.events.PROVIDER", "sms.events.PROVIDER"}
    assert names_in(section("Topics in Kafka")) == topics | feeds


def test_every_table_is_one_that_a_person_is_removed_from_or_that_holds_none():
    person = PersonRows(Target("sendlog"), Address("t", "email", "a@x.com"))
    assert {*person.tables()} | IMPERSONAL_TABLES == TABLES
    assert not {*person.tables()} & IMPERSONAL_TABLES
