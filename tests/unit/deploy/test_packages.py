"""What is deployed: the wheel alone, the image's recipe, the composition, the units."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from processor.settings import Settings
from tests.paths import DATA, ROOT

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SCRIPTS = sysconfig.get_path("scripts")


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def tool(name):
    """Return the path of a program that a development package brings."""
    path = shutil.which(name, path=os.pathsep.join([SCRIPTS, os.environ["PATH"]]))
    assert path, name
    return path


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, unpacked: returns what runs `sendlog` with it, and without this repository."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    # -S: files that lead back to the repository are not read.
    path = os.pathsep.join([str(folder / "site"), sysconfig.get_path("purelib")])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path}

    def sendlog(*arguments):
        command = [sys.executable, "-S", "-m", "processor", *arguments]
        return run(*command, cwd=folder, env=environment)

    sendlog.folder = folder
    return sendlog


def test_the_wheel_alone_has_all_that_commands_read(installed):
    assert installed("--version").stdout == "sendlog 0.1.0\n"
    classified = installed("classify", "550 5.1.1 user unknown")
    assert "hard" in classified.stdout, classified.stderr
    exported = installed("schemas", "export", "exported")
    assert exported.returncode == 0, exported.stderr
    for path in (ROOT / "schemas" / "exported").glob("*.json"):
        assert (installed.folder / "exported" / path.name).read_text() == path.read_text()


def test_the_wheel_has_every_file_of_its_packages_that_is_not_code(installed):
    tracked = run("git", "ls-files", "schemas", "projections", "processor", cwd=ROOT).stdout
    data = [name for name in tracked.splitlines() if not name.endswith((".py", ".md"))]
    assert len(data) > 20
    assert [name for name in data if not (installed.folder / "site" / name).is_file()] == []


def test_the_lock_of_a_deployment_has_what_is_depended_on_in_the_tested_versions():
    def versions(path):
        return dict(re.findall(r"(?m)^([a-z0-9-]+)(?:\[\w+\])?==(\S+)", path.read_text("utf-8")))

    deployed, tested = versions(DEPLOY / "requirements.lock"), versions(ROOT / "requirements.lock")
    assert deployed.items() <= tested.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {Requirement(line).name for line in project["dependencies"]}
    assert names <= deployed.keys()
    assert not {"chdb", "pytest", "ruff"} & deployed.keys()


def test_the_image_is_built_as_is_advised():
    done = run(tool("hadolint"), str(DEPLOY / "Dockerfile"))
    assert done.returncode == 0, done.stdout
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    assert re.search(r"(?m)^ARG BASE=\S+$", text)
    assert re.search(r"(?m)^USER 10001:10001$", text)
    assert "/livez" in text[text.index("HEALTHCHECK") :]


def test_the_composition_is_valid():
    # Of the Compose Specification, compose-spec.json in its repository.
    schema = json.loads((DATA / "compose-spec.json").read_text("utf-8"))
    problems = jsonschema.validators.validator_for(schema)(schema).iter_errors(COMPOSE)
    assert [f"{list(each.absolute_path)}: {each.message}" for each in problems] == []


def test_the_composition_has_settings_that_there_are_and_files_that_there_are(monkeypatch):
    for variable in [name for name in os.environ if name.startswith("SENDLOG_")]:
        monkeypatch.delenv(variable)
    groups = {name.upper(): field.annotation for name, field in Settings.model_fields.items()}
    for name, service in COMPOSE["services"].items():
        for variable in service.get("environment", {}):
            if variable.startswith("SENDLOG_"):
                group, _, field = variable.removeprefix("SENDLOG_").partition("__")
                fields = groups[group].model_fields
                assert field.lower() in fields or field.lower().removesuffix("_file") in fields, (
                    name
                )
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).is_file(), volume
            else:
                assert source in COMPOSE["volumes"], volume
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_what_is_ours_in_the_composition_can_write_nowhere_and_has_no_privileges():
    ours = {n: each for n, each in COMPOSE["services"].items() if each["image"] == "sendlog"}
    assert ours.keys() == {"passwords", "topics", "migrate", "worker", "gateway", "api"}
    for name, service in ours.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert (service.get("user") == "0:0") == (name == "passwords"), name


def test_passwords_are_made_at_the_first_start_and_kept(tmp_path, monkeypatch):
    [code] = COMPOSE["services"]["passwords"]["command"]
    code = code.replace("/passwords", str(tmp_path))
    owners = {}
    monkeypatch.setattr(os, "chown", lambda path, *ids: owners.update({path.name: ids}))
    exec(compile(code, "passwords", "exec"), {})  # its own code
    first = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert first.keys() == {
        "clickhouse", "grafana", "session", "embed", "commands", "hooks.toml",
    }  # fmt: skip
    assert len(set(first.values())) == 6
    assert all(len(text) >= 32 for text in first.values())
    assert tomllib.loads(first["hooks.toml"])["default"]["postal"]["secret"].startswith("hook:")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o440}
    assert owners[".clickhouse"] == (101, 10001)
    exec(compile(code, "passwords", "exec"), {})  # its own code
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == first


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_has_keys_that_systemd_knows_and_leaves_time_to_stop(unit, tmp_path):
    text = unit.read_text("utf-8")
    command = re.search(r"(?m)^ExecStart=/opt/sendlog/bin/sendlog (worker|gateway|api)$", text)
    assert command, unit
    assert re.search(r"(?m)^TimeoutStopSec=30$", text)
    for hardening in ("NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet="):
        assert f"\n{hardening}\n" in text
    copy = tmp_path / unit.name
    copy.write_text(text.replace(command[0], "ExecStart=/bin/true"))
    done = run("systemd-analyze", "verify", str(copy))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_there_is_a_unit_for_each_part():
    assert [unit.name for unit in UNITS] == [
        "sendlog-api.service", "sendlog-gateway.service", "sendlog-worker@.service",
    ]  # fmt: skip
