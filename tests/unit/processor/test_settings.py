"""Settings: a wrong or unknown one is named, with what it takes, and no secret is shown."""

from __future__ import annotations

import pytest

from processor.settings import SettingsError, load, local_password_file


def test_the_defaults_are_those_of_the_local_stack():
    settings = load()
    assert settings.clickhouse.database == "sendlog"


@pytest.fixture
def local_password(monkeypatch, tmp_path):
    monkeypatch.setenv("SENDLOG_DATA_DIR", str(tmp_path))
    file = local_password_file(tmp_path, "sendlog")
    file.parent.mkdir()
    file.write_text("made at first\n")


def login(settings):
    return settings.clickhouse.user, settings.clickhouse.password.get_secret_value()


def test_a_command_beside_the_local_stack_needs_no_password(local_password):
    assert login(load()) == ("sendlog", "made at first")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("USER", "me", ("me", "")),
        ("PASSWORD", "mine", ("default", "mine")),
        ("URL", "http://db.example.com:8123", ("default", "")),
    ],
)
def test_the_local_password_goes_nowhere_else(
    monkeypatch, local_password, variable, value, expected
):
    monkeypatch.setenv(f"SENDLOG_CLICKHOUSE__{variable}", value)
    assert login(load()) == expected


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SENDLOG_KAFKA__PARTITIONS", "many", "SENDLOG_KAFKA__PARTITIONS: .*integer.*'many'"),
        ("SENDLOG_KAFKA__BOOTSTRP", "x:1", "SENDLOG_KAFKA__BOOTSTRP: there is no such setting"),
        ("SENDLOG_COLOUR", "red", "SENDLOG_COLOUR: there is no such setting; there are: KAFKA"),
        ("SENDLOG_INTAKE__FEEDS", "ses=acme", "feeds|intake"),
        ("SENDLOG_LOG_LEVEL", "loud", "SENDLOG_LOG_LEVEL: .*'debug'"),
        ("SENDLOG_API__SESSION_SECRET", "short", "SENDLOG_API__SESSION_SECRET: .*32 characters"),
        ("SENDLOG_API__PORT", "0", "SENDLOG_API__PORT: .*'0'"),
        ("SENDLOG_CLICKHOUSE__TIMEOUT", "-1", "SENDLOG_CLICKHOUSE__TIMEOUT: .*greater than 0"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_takes(monkeypatch, variable, value, words):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=words):
        load()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SENDLOG_CLICKHOUSE__URL", "clickhouse://u:s3cret@h"),
        ("SENDLOG_CLICKHOUSE", "s3cret"),
        ("SENDLOG_CLICKHOUSE__PASSWORD__X", "s3cret"),
    ],
)
def test_no_error_shows_a_secret(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load()
    assert str(caught.value).startswith("SENDLOG_CLICKHOUSE") or "clickhouse" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("SENDLOG_CLICKHOUSE__PASSWORD", ("clickhouse", "password")),
        ("SENDLOG_CLICKHOUSE__KEY_PASSWORD", ("clickhouse", "key_password")),
        ("SENDLOG_KAFKA__PASSWORD", ("kafka", "password")),
        ("SENDLOG_GATEWAY__KEY_PASSWORD", ("gateway", "key_password")),
        ("SENDLOG_API__SESSION_SECRET", ("api", "session_secret")),
    ],
)
def test_every_secret_may_be_in_a_file(monkeypatch, tmp_path, variable, path):
    file = tmp_path / "secret"
    file.write_text("s3cret of 32 characters or more  \r\n")
    monkeypatch.setenv(f"{variable}_FILE", str(file))
    group, name = path
    secret = getattr(getattr(load(), group), name)
    assert secret.get_secret_value() == "s3cret of 32 characters or more  "
    file.write_text("another")  # what connects from now on uses it
    assert secret.get_secret_value() == "another"
    file.unlink()
    assert secret.get_secret_value() == "another"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"SENDLOG_CLICKHOUSE__PASSWORD_FILE": "/nowhere"}, "FILE: /nowhere cannot be read"),
        ({"SENDLOG_CLICKHOUSE__PASSWORD_FILE": "{}", "SENDLOG_CLICKHOUSE__PASSWORD": "s3cret"},
         "SENDLOG_CLICKHOUSE__PASSWORD_FILE: SENDLOG_CLICKHOUSE__PASSWORD is set, too"),
        ({"SENDLOG_KAFKA__PASSWORD_FILE": "{}", "SENDLOG_KAFKA": '{"password": "s3cret"}'},
         "SENDLOG_KAFKA__PASSWORD_FILE: SENDLOG_KAFKA__PASSWORD is set, too"),
        ({"SENDLOG_CLICKHOUSE__PASSWORD_FILE": "{}.binary"}, "PASSWORD_FILE: .* is not UTF-8"),
        ({"SENDLOG_CLICKHOUSE__USER_FILE": "{}"}, "USER_FILE: there is no such setting"),
        ({"SENDLOG_KAFKA__PASSWORD": "s3cret", "SENDLOG_KAFKA__USER": "me"}, "did you mean SASL"),
        ({"SENDLOG_KAFKA__CA_FILE": "{}"}, "PLAINTEXT, which takes no CA_FILE: did you mean SSL"),
        ({"SENDLOG_KAFKA__PROTOCOL": "SSL", "SENDLOG_KAFKA__KEY_FILE": "{}"}, "set both, or"),
        ({"SENDLOG_KAFKA__PROTOCOL": "SASL_SSL", "SENDLOG_KAFKA__USER": "me"},
         "SENDLOG_KAFKA: MECHANISM SCRAM-SHA-512 takes USER and PASSWORD"),
        ({"SENDLOG_KAFKA__PROTOCOL": "SASL_SSL", "SENDLOG_KAFKA__MECHANISM": "OAUTHBEARER"},
         "takes one of TOKEN_COMMAND and TOKEN_URL"),
        ({"SENDLOG_KAFKA__TOKEN_URL": "http://id.example.com/token"}, "SENDLOG_KAFKA__TOKEN_URL: "),
        ({"SENDLOG_CLICKHOUSE__CA_FILE": "{}"}, "URL begins with http, which takes no CA_FILE"),
        ({"SENDLOG_CLICKHOUSE__URL": "https://db?verify=false"}, "SENDLOG_CLICKHOUSE__URL: "),
        ({"SENDLOG_API__PROXIES": "*"}, "SENDLOG_API__PROXIES: .*'\\*'"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused_without_its_secrets(
    monkeypatch, tmp_path, environment, words
):
    file = tmp_path / "secret"
    file.write_text("s3cret")
    (tmp_path / "secret.binary").write_bytes(b"\xff")
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value.replace("{}", str(file), 1))
    with pytest.raises(SettingsError, match=words) as caught:
        load()
    assert "s3cret" not in str(caught.value)


def test_a_secret_that_is_too_short_is_not_shown_either(monkeypatch):
    monkeypatch.setenv("SENDLOG_API__SESSION_SECRET", "s3cret")
    with pytest.raises(SettingsError) as caught:
        load()
    assert "s3cret" not in str(caught.value)
