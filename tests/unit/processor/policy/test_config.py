"""A deployment's policies: read over the defaults, and refused with the line of the fault."""

from __future__ import annotations

from datetime import timedelta

import pytest

from processor.policy.config import (
    CHOOSABLE_RULES,
    Policies,
    Policy,
    PolicyError,
    duration_text,
    policies_in_force,
    read_policies,
)
from processor.settings import load
from schemas.bounces import default_rules
from schemas.decisions import SUPPRESSION_RULES

GOOD = """
# comments and empty lines do not confuse the count of lines
[default]
retries = 2
schedule = ["10s", "5m"]

[tenant."acme & sons"]
horizon = "1d"
blacklists = [
  "hard_bounce",
]
[tenant.plain]
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "own.toml"
    monkeypatch.setenv("SENDLOG_POLICY_FILE", str(path))

    def write(text):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_the_defaults_are_those_of_the_domain(monkeypatch):
    monkeypatch.delenv("SENDLOG_POLICY_FILE", raising=False)
    policy = policies_in_force(load()).of("anyone")
    assert policy.retries == 3
    assert [duration_text(wait) for wait in policy.schedule] == ["15m", "1h", "4h"]
    assert duration_text(policy.horizon) == "3d"
    assert (policy.soft_threshold, duration_text(policy.soft_expiry)) == (5, "30d")
    assert (policy.refusal_threshold, duration_text(policy.refusal_expiry)) == (3, "90d")
    assert policy.blacklists == {
        "hard_bounce", "complaint", "opt_out", "echo", "refusals", "soft_bounces",
    }  # fmt: skip
    assert policy.rules_version == default_rules().version


def test_a_tenant_has_its_own_over_the_files_default_over_ours(file):
    file(GOOD)
    policies = policies_in_force(load())
    sons, other = policies.of("acme & sons"), policies.of("anyone")
    assert (sons.retries, sons.horizon, sons.blacklists) == (
        2, timedelta(days=1), {"hard_bounce"},
    )  # fmt: skip
    assert other.schedule == (timedelta(seconds=10), timedelta(minutes=5))
    assert other.horizon == timedelta(hours=72)
    assert policies.of("plain") == other


def test_an_empty_file_and_an_empty_setting_leave_the_defaults(file, monkeypatch):
    file("")
    assert policies_in_force(load()).default == Policy(rules_version=default_rules().version)
    monkeypatch.setenv("SENDLOG_POLICY_FILE", "")
    assert policies_in_force(load()).file is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[default]\n\nretries = 'x'", r"line 3: default\.retries: .*integer \(it is 'x'\)"),
        ("[default]\nretries = 99", r"line 2: default\.retries: .*less than or equal to 20"),
        ("[default]\nretries = true", r"line 2: default\.retries"),
        ("[default]\nschedule = ['1x']", r'line 2: default\.schedule\.0: a duration .*"15m"'),
        ("[default]\nschedule = [\n]", r"line 2: default\.schedule: .*at least 1 item"),
        ("[default]\nhorizon = '9999d'", r"line 2: default\.horizon: .*at most 366d"),
        ("[default]\nhorizon = '0h'", r"line 2: default\.horizon"),
        ("[default]\nhorizon = 5", r"line 2: default\.horizon"),
        ("[default]\nblacklists = ['typo']", r"line 2: default\.blacklists\.0: .*'hard_bounce'"),
        ("[default]\nretry = 1", r"line 2: default\.retry: there is no such key; .*soft_expiry"),
        ("[default]\nrules_version = 1", r"line 2: default\.rules_version: there is no such key"),
        ('[default]\n[tenant."a b"]\nretries = -1', r"line 3: tenant\.a b\.retries"),
        ("[tenant]\na = {retries = -1}", r"line 2: tenant\.a\.retries"),
        ("tenant.a.retries = -1", r"tenant\.a\.retries"),
        ("tenant = 1", r"line 1: tenant: is a table"),
        ("default = 1", r"line 1: default: is a table"),
        ("[tenant]\na = 1", r"line 2: tenant\.a: is a table"),
        ("\n[defaults]", r"line 2: defaults: there is no such part"),
        ("[default\n", r"not TOML: .*line 1"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_line_and_key(file, text, fault):
    path = file(text)
    with pytest.raises(PolicyError, match=fault) as refused:
        policies_in_force(load())
    assert str(refused.value).startswith(f"SENDLOG_POLICY_FILE {path}")


def test_all_faults_are_named_at_once(file):
    path = file("[default]\nretries = -1\nhorizon = 1\n[tenant.a]\nx = 1")
    with pytest.raises(PolicyError) as refused:
        read_policies(path, "FILE")
    assert [line.partition(", ")[2][:7] for line in str(refused.value).splitlines()] == [
        "line 2:", "line 3:", "line 5:",
    ]  # fmt: skip


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PolicyError, match=r"FILE .*none\.toml cannot be read: No such file"):
        read_policies(tmp_path / "none.toml", "FILE")


def test_without_a_file_every_tenant_has_the_defaults():
    assert Policies().of("anyone") == Policy()


def test_a_rule_that_is_not_choosable_is_refused_with_those_that_are(file):
    choosable = {name for name, rule in SUPPRESSION_RULES.items() if rule.choosable}
    assert choosable == CHOOSABLE_RULES
    file("[default]\nblacklists = ['unsubscribe']")
    with pytest.raises(PolicyError) as refused:
        policies_in_force(load())
    assert str(refused.value).endswith(
        "default.blacklists.0: Input should be 'hard_bounce', 'complaint', 'opt_out', 'echo', "
        "'refusals' or 'soft_bounces' (it is 'unsubscribe')"
    )
