"""Kafka's jars are taken only with the listed checksums, and Maven stops at a wrong one."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from deploy.local import broker, kafka_jars
from deploy.local.kafka_jars import check_jars, expected_jars
from deploy.local.process import LocalError

CONTENT = b"a jar"
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sendlog</groupId>
  <artifactId>{artifact}</artifactId>
  <version>1</version>
  {rest}
</project>
"""
ASKING = """<packaging>pom</packaging>
  <repositories><repository><id>here</id><url>{url}</url></repository></repositories>
  <dependencies><dependency>
    <groupId>sendlog</groupId><artifactId>thing</artifactId><version>1</version>
  </dependency></dependencies>
  <build><plugins><plugin>
    <groupId>org.apache.maven.plugins</groupId>
    <artifactId>maven-dependency-plugin</artifactId><version>3.8.1</version>
  </plugin></plugins></build>"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with the one jar that is expected."""
    listed = tmp_path / "jars.sha256"
    listed.write_text(f"{hashlib.sha256(CONTENT).hexdigest()}  sendlog:thing:1\n")
    monkeypatch.setattr(kafka_jars, "CHECKSUMS", listed)
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "thing-1.jar").write_bytes(CONTENT)
    return tmp_path / "jars"


def test_the_list_has_every_jar_of_the_broker_as_it_is_here():
    jars = list(expected_jars())
    assert len(jars) == 45
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {"4.4.0"}
    check_jars(broker.find_jars())


def test_jars_as_they_are_listed_are_taken(folder):
    check_jars(folder)


def test_a_jar_of_other_bytes_is_refused(folder):
    (folder / "thing-1.jar").write_bytes(CONTENT + b".")
    with pytest.raises(LocalError, match=r"thing-1\.jar has another checksum"):
        check_jars(folder)


def test_a_jar_that_is_not_listed_is_refused(folder):
    (folder / "other-1.jar").write_bytes(CONTENT)
    with pytest.raises(LocalError, match=r"other-1\.jar is not listed"):
        check_jars(folder)


def test_a_jar_that_is_missing_is_refused(folder):
    (folder / "thing-1.jar").unlink()
    with pytest.raises(LocalError, match=r"thing-1\.jar is missing"):
        check_jars(folder)


def test_maven_stops_at_a_wrong_checksum(tmp_path, monkeypatch, folder):
    forget()
    place = tmp_path / "repository" / "sendlog" / "thing" / "1"
    place.mkdir(parents=True)
    description = POM.format(artifact="thing", rest="").encode()
    for suffix, content, digest in (
        ("jar", CONTENT, "0" * 40),
        ("pom", description, hashlib.sha1(description).hexdigest()),
    ):
        (place / f"thing-1.{suffix}").write_bytes(content)
        (place / f"thing-1.{suffix}.sha1").write_text(digest)
    pom = tmp_path / "pom.xml"
    url = (tmp_path / "repository").as_uri()
    pom.write_text(POM.format(artifact="asking", rest=ASKING.format(url=url)))
    monkeypatch.setattr(broker, "_POM", pom)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    try:
        with pytest.raises(LocalError, match="Checksum validation failed"):
            broker.find_jars()
    finally:
        forget()


def forget():
    """Drop what Maven keeps of the thing."""
    shutil.rmtree(Path.home() / ".m2" / "repository" / "sendlog" / "thing", ignore_errors=True)
