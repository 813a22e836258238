"""The chart: what it renders is valid, has the settings that there are, and no privileges."""

from __future__ import annotations

import os
import subprocess
import tomllib

import kubernetes_validate
import pytest
import yaml

from processor.settings import Settings
from tests import helm
from tests.paths import ROOT

CHART = ROOT / "deploy" / "helm"
VERSIONS = ("1.28", "1.37")
#: Everything that a values file may switch on.
FULL = {
    "policy": "retries = 3\n[tenants.acme]\nretries = 1\n",
    "bounceRules": "",
    "imagePullSecrets": [{"name": "registry"}],
    "secrets": {
        "name": "ours",
        "files": {
            "SENDLOG_CLICKHOUSE__PASSWORD": "clickhouse", "SENDLOG_KAFKA__PASSWORD": "kafka",
            "SENDLOG_KAFKA__CA_FILE": "ca.pem",
        },
    },
    "settings": {"SENDLOG_KAFKA__PROTOCOL": "SASL_SSL"},
    "worker": {
        "settings": {"SENDLOG_INTAKE__BATCH_ROWS": "64000"},
        "keda": {"enabled": True, "authenticationRef": "kafka-login"},
    },
    "gateway": {"ingress": {"enabled": True, "className": "nginx", "tlsSecret": "hooks-tls"}},
    "api": {
        "settings": {"SENDLOG_API__HTTPS": "true"},
        "ingress": {"enabled": True, "annotations": {"a": "b"}, "tlsSecret": "log-tls"},
    },
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "metricsFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
    },
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "mail", "operator": "Exists"}],
    "podAnnotations": {"prometheus.io/scrape": "true"},
}  # fmt: skip
NOTHING = {
    "worker": {"replicas": 0}, "gateway": {"enabled": False}, "api": {"enabled": False},
    "jobs": {"topics": False, "migrate": False}, "networkPolicy": {"enabled": False},
}  # fmt: skip


def run(*arguments, values=None):
    command = [helm.find(), *arguments, *(["--values", "-"] if values is not None else [])]
    return subprocess.run(
        command, input=yaml.safe_dump(values), capture_output=True, text=True, check=False
    )


def rendered(values):
    """Return what the chart makes of values, by kind and name."""
    done = run("template", "log", str(CHART), values=values)
    assert done.returncode == 0, done.stderr
    made = [each for each in yaml.safe_load_all(done.stdout) if each]
    found = {(each["kind"], each["metadata"]["name"]): each for each in made}
    assert len(found) == len(made)
    return found


def pods(made):
    return {
        name: each["spec"]["template"]["spec"]
        for (kind, name), each in made.items() if kind in {"Deployment", "Job"}
    }  # fmt: skip


def environment(pod):
    [container] = pod["containers"]
    return {each["name"]: each["value"] for each in container["env"]}


@pytest.mark.parametrize("values", [{}, FULL, NOTHING], ids=["default", "full", "nothing"])
def test_what_it_renders_is_valid(values):
    assert run("lint", "--strict", str(CHART), values=values).returncode == 0
    for (kind, name), each in rendered(values).items():
        if kind == "ScaledObject":
            continue  # KEDA's own
        for version in VERSIONS:
            assert kubernetes_validate.validate(each, version, strict=True), name


def test_each_part_has_its_pods_and_what_protects_them():
    made = rendered({})
    parts = {"log-worker", "log-gateway", "log-api"}
    assert pods(made).keys() == {*parts, "log-topics", "log-migrate"}
    assert {name for kind, name in made if kind == "PodDisruptionBudget"} == parts
    assert {name for kind, name in made if kind == "Service"} == parts - {"log-worker"}
    assert ("NetworkPolicy", "log") in made
    assert {kind for kind, _ in rendered(NOTHING)} == {
        "ServiceAccount", "ConfigMap", "Deployment", "PodDisruptionBudget",
    }  # fmt: skip


@pytest.mark.parametrize("values", [{}, FULL], ids=["default", "full"])
def test_a_pod_has_no_privileges_writes_to_tmp_alone_and_has_time_to_stop(values):
    for name, pod in pods(rendered(values)).items():
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"], name
        assert not pod["automountServiceAccountToken"], name
        assert pod["terminationGracePeriodSeconds"] == 30
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        writable = [each for each in container["volumeMounts"] if not each.get("readOnly")]
        assert writable == [{"name": "tmp", "mountPath": "/tmp"}]
        is_job = name in {"log-topics", "log-migrate"}
        assert ("livenessProbe" in container) is not is_job


def test_probes_ask_the_ports_that_there_are():
    made = pods(rendered({}))
    for name, port in (("log-worker", "metrics"), ("log-gateway", "http"), ("log-api", "http")):
        [container] = made[name]["containers"]
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port}
        fields = Settings.model_fields
        listens = {"log-gateway": "gateway", "log-api": "api"}.get(name)
        if listens:
            default = fields[listens].annotation.model_fields["port"].default
            assert ports["http"] == default


@pytest.mark.parametrize("values", [{}, FULL], ids=["default", "full"])
def test_settings_are_such_as_there_are_and_secrets_are_read_from_files(values, monkeypatch):
    for variable in [name for name in os.environ if name.startswith("SENDLOG_")]:
        monkeypatch.delenv(variable)
    fields = {name.upper(): field for name, field in Settings.model_fields.items()}
    for pod in pods(rendered(values)).values():
        for variable, value in environment(pod).items():
            group, _, name = variable.removeprefix("SENDLOG_").partition("__")
            of_group = fields[group].annotation.model_fields if name else fields
            names = {name.lower(), name.lower().removesuffix("_file")} if name else {group}
            assert names & set(of_group), variable
            if "PASSWORD" in variable or "SECRET" in variable:
                assert variable.endswith("_FILE")
                assert value.startswith("/secrets/")


def test_a_part_has_the_settings_of_all_and_its_own():
    made = pods(rendered(FULL))
    assert environment(made["log-worker"])["SENDLOG_INTAKE__BATCH_ROWS"] == "64000"
    assert "SENDLOG_INTAKE__BATCH_ROWS" not in environment(made["log-api"])
    for pod in made.values():
        settings = environment(pod)
        assert settings["SENDLOG_KAFKA__PROTOCOL"] == "SASL_SSL"
        assert settings["SENDLOG_KAFKA__BOOTSTRAP"] == "kafka:9092"
        assert settings["SENDLOG_KAFKA__CA_FILE"] == "/secrets/ca.pem"
        assert settings["SENDLOG_KAFKA__PASSWORD_FILE"] == "/secrets/kafka"
        assert settings["SENDLOG_POLICY_FILE"] == "/config/policy.toml"
        assert "SENDLOG_BOUNCE_RULES" not in settings
    [policy] = [each for (kind, _), each in rendered(FULL).items() if kind == "ConfigMap"]
    assert policy["data"]["policy.toml"] == FULL["policy"]


def test_workers_are_made_by_the_lag_of_their_group():
    made = rendered(FULL)
    scaled = made["ScaledObject", "log-worker"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == "log-worker"
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (2, 4)
    [trigger] = scaled["triggers"]
    assert trigger["type"] == "kafka"
    assert trigger["metadata"]["consumerGroup"] == "sendlog"
    assert trigger["authenticationRef"] == {"name": "kafka-login"}
    assert "replicas" not in made["Deployment", "log-worker"]["spec"]
    assert "ScaledObject" not in {kind for kind, _ in rendered({})}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"worker": {"replicas": "many"}}, "replicas"),
        ({"settings": {"KAFKA": "x"}}, "KAFKA"),
        ({"workers": {}}, "workers"),
        ({"settings": {"SENDLOG_POLICY": True}}, "SENDLOG_POLICY"),
    ],
)
def test_wrong_values_are_refused_with_their_name(values, words):
    done = run("template", "log", str(CHART), values=values)
    assert done.returncode != 0
    assert words in done.stderr


def test_versions_are_those_of_the_package():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert chart["appVersion"] == project["version"]
