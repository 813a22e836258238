"""Settings: a wrong or unknown one is named, with what it takes, and no secret is shown."""

from __future__ import annotations

import pytest

from processor.api import open_id_sign_in
from processor.settings import SettingsError, load, local_password_file
from projections.tls import TlsFileError


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


@pytest.fixture
def local_secret(monkeypatch, tmp_path):
    monkeypatch.setenv("SENDLOG_DATA_DIR", str(tmp_path))
    file = local_password_file(tmp_path, "commands")
    file.parent.mkdir()
    file.write_text("l" * 32 + "\n")


def command_secret():
    return load().kafka.command_secret.get_secret_value()


def test_a_command_beside_the_local_stack_is_signed_by_its_secret(local_secret):
    assert command_secret() == "l" * 32


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("COMMAND_SECRET", "m" * 32, "m" * 32),
        ("BOOTSTRAP", "kafka.example.com:9092", ""),
        ("BOOTSTRAP", "127.0.0.1:9092,kafka.example.com:9092", ""),
    ],
)
def test_the_local_secret_signs_for_no_other_broker(
    monkeypatch, local_secret, variable, value, expected
):
    monkeypatch.setenv(f"SENDLOG_KAFKA__{variable}", value)
    assert command_secret() == expected


def test_secrets_of_commands_may_be_lines_of_a_file_which_is_read_again(monkeypatch, tmp_path):
    file = tmp_path / "commands"
    file.write_text("o" * 32 + "\n")
    monkeypatch.setenv("SENDLOG_KAFKA__COMMAND_SECRET_FILE", str(file))
    secret = load().kafka.command_secret
    file.write_text("n" * 32 + "\n" + "o" * 32 + "\n")
    assert secret.get_secret_value().split() == ["n" * 32, "o" * 32]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        (
            "SENDLOG_KAFKA__COMMAND_SECRET",
            "short",
            "SENDLOG_KAFKA__COMMAND_SECRET: .*32 characters",
        ),
        ("SENDLOG_KAFKA__MAILERS", '{"A": ["t"]}', "SENDLOG_KAFKA__MAILERS__A"),
        ("SENDLOG_KAFKA__MAILERS", '{"a": [""]}', "SENDLOG_KAFKA__MAILERS__A__0: .*1 character"),
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


OPENID = {
    "SENDLOG_API__PUBLIC_URL": "https://log.example.com/",
    "SENDLOG_OIDC__ISSUER": "https://id.example.com/realms/studio",
    "SENDLOG_OIDC__CLIENT_ID": "sendlog",
    "SENDLOG_OIDC__GROUPS": '{"desk": {"tenant": "a", "role": "support"}, '
    '"owners": [{"tenant": "a", "role": "admin"}, {"tenant": "*", "role": "analyst"}]}',
}


def test_people_sign_in_at_the_provider_that_the_settings_name(monkeypatch, tmp_path):
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    for name, value in OPENID.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SENDLOG_OIDC__CLIENT_SECRET_FILE", str(file))
    monkeypatch.setenv("SENDLOG_OIDC__EMAIL_DOMAINS", "Studio.example, example.com")
    sign_in = open_id_sign_in(load())
    assert sign_in.provider.client.callback_url == "https://log.example.com/sign-in/callback"
    assert sign_in.provider.client.client_secret() == "s3cret"
    assert sign_in.people.group_roles == {
        "desk": [("a", "support")], "owners": [("a", "admin"), ("*", "analyst")],
    }  # fmt: skip
    assert sign_in.people.email_domains == {"studio.example", "example.com"}
    assert sign_in.session_seconds == 4 * 3600
    assert "s3cret" not in repr(sign_in)
    file.write_text("another\n")  # a new secret is taken without a restart
    assert sign_in.provider.client.client_secret() == "another"


def test_without_an_issuer_nobody_signs_in_at_a_provider():
    assert open_id_sign_in(load()) is None


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SENDLOG_OIDC__CLIENT_ID", "", "SENDLOG_OIDC: ISSUER takes CLIENT_ID and GROUPS"),
        ("SENDLOG_OIDC__GROUPS", "{}", "SENDLOG_OIDC: ISSUER takes CLIENT_ID and GROUPS"),
        ("SENDLOG_OIDC__ISSUER", "", "SENDLOG_OIDC: ISSUER is empty, .* CLIENT_ID, GROUPS"),
        ("SENDLOG_OIDC__ISSUER", "http://id.example.com", "SENDLOG_OIDC__ISSUER: "),
        ("SENDLOG_OIDC__ISSUER", "https://id.example.com/?x=1", "SENDLOG_OIDC__ISSUER: "),
        ("SENDLOG_OIDC__GROUPS", '{"d": {"tenant": "a", "role": "boss"}}', "GROUPS__D__0__ROLE: "),
        ("SENDLOG_OIDC__GROUPS", '{"d": {"tenant": "", "role": "admin"}}', "GROUPS__D__0__TENANT"),
        ("SENDLOG_OIDC__GROUPS", '{"d": {"tenants": "a", "role": "admin"}}', "GROUPS__D__0"),
        ("SENDLOG_OIDC__GROUPS", "desk=a", "oidc"),
        ("SENDLOG_OIDC__EMAIL_DOMAINS", "ann@example.com", "EMAIL_DOMAINS: .*as example.com"),
        ("SENDLOG_OIDC__SCOPES", "profile", "SENDLOG_OIDC__SCOPES: "),
        ("SENDLOG_OIDC__SESSION_MINUTES", "1440", "SESSION_MINUTES: .*720"),
        ("SENDLOG_OIDC__COLOUR", "red", "no such setting; there are: OIDC__ISSUER"),
    ],
)
def test_settings_of_a_provider_that_do_not_go_together_are_named(
    monkeypatch, variable, value, words
):
    for name, usual in (OPENID | {variable: value}).items():
        monkeypatch.setenv(name, usual)
    with pytest.raises(SettingsError, match=words) as caught:
        load()
    assert "None" not in str(caught.value)


def test_a_provider_needs_a_public_address_to_lead_back_to(monkeypatch):
    for name, value in (OPENID | {"SENDLOG_API__PUBLIC_URL": ""}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="ISSUER takes SENDLOG_API__PUBLIC_URL"):
        open_id_sign_in(load())


def test_a_ca_file_of_the_provider_that_is_none_is_named(monkeypatch, tmp_path):
    for name, value in OPENID.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SENDLOG_OIDC__CA_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(TlsFileError, match="SENDLOG_OIDC__CA_FILE"):
        open_id_sign_in(load())
