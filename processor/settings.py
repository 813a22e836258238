"""Settings: environment variables with prefix SENDLOG_, nested by two underscores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSettingsError

from processor.connection_settings import (
    CONTRADICTION,
    DEFAULT_USER,
    LOOPBACK_HOSTS,
    ClickHouseSettings,
    HttpServerSettings,
    OptionalPath,
    TlsClientSettings,
    WallSettings,
    WebhookSecret,
    contradiction,
    long_enough,
)
from processor.open_id_settings import OpenIdSettings
from processor.secret_files import FILE_SUFFIX, SecretFileError, secret_fields, secrets_of_files
from projections.web.embed_tokens import TimeZoneName
from schemas.addresses import NumberRegions
from schemas.errors import ExplainedError
from schemas.providers.verp import compile_pattern

Port = Annotated[int, Field(ge=1, le=65_535)]
Region = Annotated[str, StringConstraints(pattern=r"^([A-Z]{2})?$")]

ENVIRONMENT_PREFIX = "SENDLOG_"
#: The user of ClickHouse of the local stack, which makes a password for it.
LOCAL_USER = "sendlog"
#: What the local stack keeps the secret of commands as.
COMMANDS_SECRET = "commands"  # noqa: S105 - the name of its file
#: Groups with secrets: their wrong values are not shown, with these exceptions.
SECRET_GROUPS = frozenset({"kafka", "clickhouse", "gateway", "api", "oidc", "privacy"})
PLAIN_SETTINGS = frozenset({
    ("kafka", "group"), ("kafka", "partitions"), ("kafka", "replication"),
    ("kafka", "max_record_bytes"), ("kafka", "fetch_bytes"), ("kafka", "fetch_records"),
    ("kafka", "protocol"), ("kafka", "mechanism"), ("kafka", "token_url"),
    ("kafka", "mailers"), ("kafka", "shared_sends"),
    ("clickhouse", "timeout"), ("clickhouse", "database"),
    ("gateway", "host"), ("gateway", "port"), ("gateway", "timeout"), ("gateway", "verp"),
    ("gateway", "mail_host"), ("gateway", "mail_port"), ("gateway", "mail_protocol"),
    ("api", "host"), ("api", "port"), ("api", "rate"), ("api", "burst"), ("api", "query_seconds"),
    ("api", "outcome_seconds"), ("api", "https"), ("api", "provider_accounts"),
    ("api", "proxies"), ("gateway", "proxies"),
})  # fmt: skip


class SettingsError(ExplainedError, ValueError):
    """A setting has a wrong value; the text names the variable and what it takes."""


class KafkaSettings(WallSettings, TlsClientSettings):
    """The broker, how to log in to it, and how the worker reads from it."""

    bootstrap: str = Field("127.0.0.1:9092", description="host:port, several with commas")
    group: str = Field("sendlog", description="consumer group, and Faust's application id")
    partitions: int = Field(4, ge=1, le=1000, description="of each topic that is created")
    replication: int = Field(3, ge=1, le=10, description="of each topic; 1 in the local stack")
    max_record_bytes: int = Field(
        1_048_576, ge=1024, le=8_388_608, description="a larger record is a dead letter"
    )
    fetch_bytes: int = Field(4_194_304, ge=65_536, description="largest fetch of a partition")
    fetch_records: int = Field(15_000, ge=1, description="largest chunk of a partition")
    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    user: str = Field("", description="of PLAIN and SCRAM; of OAUTHBEARER the client's id")
    password: SecretStr = Field(SecretStr(""), description="of it; the client's secret")
    token_command: str = Field("", description="prints a token of OAUTHBEARER; no shell runs it")
    token_url: str = Field(
        "",
        pattern=r"^(https://[^\s]+|http://(127\.0\.0\.1|\[::1\]|localhost)[:/][^\s]*)?$",
        description="gives a token of OAUTHBEARER for the client's id and secret; https",
    )
    token_scope: str = Field("", description="of that token")

    @property
    def is_encrypted(self) -> bool:
        """Whether connections are by TLS."""
        return self.protocol in {"SSL", "SASL_SSL"}

    @property
    def logs_in(self) -> bool:
        """Whether clients log in by SASL."""
        return self.protocol in {"SASL_PLAINTEXT", "SASL_SSL"}

    @model_validator(mode="after")
    def _check_protocol(self) -> Self:
        if self.tls_variables and not self.is_encrypted:
            raise contradiction(
                f"PROTOCOL is {self.protocol}, which takes no {', '.join(self.tls_variables)}:"
                " did you mean SSL or SASL_SSL?"
            )
        has_user, sources = bool(self.user), [bool(self.token_command), bool(self.token_url)]
        if not self.logs_in:
            if has_user or any(sources):
                raise contradiction(
                    f"PROTOCOL is {self.protocol}, which has no login: did you mean SASL?"
                )
        elif self.mechanism != "OAUTHBEARER":
            if not (has_user and self.password.get_secret_value()) or any(sources):
                raise contradiction(
                    f"MECHANISM {self.mechanism} takes USER and PASSWORD, and no TOKEN_…"
                )
        elif sum(sources) != 1:
            raise contradiction("MECHANISM OAUTHBEARER takes one of TOKEN_COMMAND and TOKEN_URL")
        elif self.token_url and not (has_user and self.password.get_secret_value()):
            raise contradiction("TOKEN_URL takes USER and PASSWORD, the client's id and secret")
        return self


class IntakeSettings(BaseModel):
    """How the worker batches, and when it takes a topic slowly that has only bad records."""

    batch_rows: int = Field(32_000, ge=1, description="rows waiting for a write, at most about")
    write_interval: float = Field(0.4, ge=0, le=60, description="seconds between small writes")
    default_tenant: str = Field("default", min_length=1, description="of feeds that name none")
    feeds: dict[str, str] = Field(
        default_factory=dict, description="tenant by provider, for events that name none"
    )
    stop_after_bad: int = Field(
        5_000, ge=1, description="bad records in a row after which a topic is read slowly"
    )
    bad_rate: float = Field(
        500, gt=0, description="records a second of a topic that is read slowly"
    )


class RawSettings(BaseModel):
    """Whether raw records are kept, and how long."""

    keep: bool = Field(default=True, description="the raw record of every event, in ClickHouse")
    days: int = Field(
        0, ge=0, le=36_500, description="that they are kept; 0: for ever; `sendlog migrate` sets it"
    )


class NumberSettings(BaseModel):
    """How phone numbers are read that name no country."""

    region: Region = Field("", description="their country, as GB; '': they are not understood")
    regions: dict[str, Region] = Field(
        default_factory=dict, description="the same by tenant, before `region`"
    )

    @property
    def by_tenant(self) -> NumberRegions:
        """The country of a tenant's numbers."""
        return NumberRegions(self.region, self.regions)


def _usable_pattern(pattern: str) -> str:
    if pattern:
        compile_pattern(pattern)
    return pattern


class GatewaySettings(HttpServerSettings):
    """Where the gateway listens for webhooks, and how it verifies them."""

    host: str = Field("127.0.0.1", description="address to listen at")
    port: Port = 8090
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^?#\s]+)?$",
        description="what providers' addresses begin with; '': as the request says",
    )
    timeout: float = Field(
        5, gt=0, le=60, description="seconds for Kafka to confirm, then the answer is 503"
    )
    mail_host: str = Field("127.0.0.1", description="address to listen at for mail")
    mail_port: int = Field(0, ge=0, le=65_535, description="of LMTP or SMTP; 0: no mail is taken")
    mail_protocol: Literal["lmtp", "smtp"] = "lmtp"
    verp: Annotated[str, AfterValidator(_usable_pattern)] = Field(
        "", description="regular expression of variable return paths; '': bounces+MESSAGE_ID@…"
    )
    secrets_file: Path | None = Field(None, description="TOML: [tenant.provider] secret = …")
    secrets: dict[str, dict[str, WebhookSecret]] = Field(
        default_factory=dict, description="the same as JSON, beside the file"
    )

    @property
    def is_https(self) -> bool:
        """Whether providers call it by https."""
        return self.certificate_file is not None or self.public_url.startswith("https:")


class ApiSettings(HttpServerSettings):
    """The HTTP API of the log, and its web pages."""

    host: str = Field("127.0.0.1", description="address to listen at")
    port: Port = 8080
    rate: float = Field(50, gt=0, le=100_000, description="requests a second of one key")
    burst: int = Field(100, ge=1, le=100_000, description="requests of one key at once")
    query_seconds: float = Field(30, gt=0, le=280, description="of ClickHouse for one answer")
    outcome_seconds: float = Field(
        10, ge=0, le=60, description="to wait for a command to take effect; then the answer is 202"
    )
    session_secret: Annotated[SecretStr, AfterValidator(long_enough)] = Field(
        SecretStr(""),
        description="signs the cookies of the pages, at least 32 characters, the same for all "
        "processes; '': made up at each start, so that everybody has to sign in again",
    )
    https: bool = Field(
        default=False, description="browsers use https, by a proxy; it is so with a certificate"
    )
    embed_secret: Annotated[SecretStr, AfterValidator(long_enough)] = Field(
        SecretStr(""),
        description="what the embed secrets of keys are made of, at least 32 characters, the same "
        "for all processes; '': made up at each start, so that no host can sign tokens by itself",
    )
    public_url: Annotated[str, Field(pattern="^(https?://[^?#]+|)$")] = Field(
        "", description="how browsers call the start page; '': as a request calls it"
    )
    time_zone: TimeZoneName = Field(
        "UTC", description="of the pages where a browser names none, as America/New_York"
    )
    provider_accounts: OptionalPath = Field(
        None, description="TOML: [tenant.sendgrid] key = …; resets take addresses off their lists"
    )

    @property
    def is_https(self) -> bool:
        """Whether browsers use https."""
        named = self.https or self.public_url.startswith("https:")
        return named or self.certificate_file is not None


class PrivacySettings(BaseModel):
    """By what people are forgotten."""

    secret: Annotated[SecretStr, AfterValidator(long_enough)] = Field(
        SecretStr(""),
        description="makes the pseudonyms of people who are forgotten, at least 32 characters, the "
        "same for ever; '': nobody can be",
    )


class Settings(BaseSettings):
    """All settings, with defaults for the local stack on one machine."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__")

    kafka: KafkaSettings = KafkaSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    intake: IntakeSettings = IntakeSettings()
    raw: RawSettings = RawSettings()
    audit_days: int = Field(365, ge=0, le=36_500, description="of the audit log; 0: for ever")
    numbers: NumberSettings = NumberSettings()
    privacy: PrivacySettings = PrivacySettings()
    gateway: GatewaySettings = GatewaySettings()
    api: ApiSettings = ApiSettings()
    oidc: OpenIdSettings = OpenIdSettings()
    bounce_rules: OptionalPath = Field(
        None, description="TOML file of a deployment's own rules, asked before the shipped ones"
    )
    policy: bool = Field(
        True, description="rules for retries and the blacklist; false: keep the log, decide nothing"
    )
    policy_file: OptionalPath = Field(
        None, description="TOML file of the rules for retries and the blacklist, per tenant"
    )
    data_dir: Path = Field(Path(".data"), description="of the local stack")
    metrics_host: str = Field("127.0.0.1", description="address that metrics are served at")
    metrics_port: int = Field(0, ge=0, le=65_535, description="of worker, gateway and API; 0: none")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else json"
    )


def load() -> Settings:
    """Read the settings from the environment.

    Raises `SettingsError` naming each wrong or unknown variable and what it takes.
    """
    groups = {name.upper(): field for name, field in Settings.model_fields.items()}
    for variable in os.environ:
        head, _, nested = variable.removeprefix(ENVIRONMENT_PREFIX).partition("__")
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        group = groups[head].annotation if head in groups else None
        fields = list(getattr(group, "model_fields", ()))
        fields += [f"{name}{FILE_SUFFIX.lower()}" for name in secret_fields(group)]
        if head not in groups or (nested and nested.split("__")[0].lower() not in fields):
            names = ", ".join(f"{head}__{name.upper()}" for name in fields) or ", ".join(groups)
            raise SettingsError(f"{variable}: there is no such setting; there are: {names}")
    annotations = {name: field.annotation for name, field in groups.items()}
    try:
        secrets = secrets_of_files(annotations, os.environ, ENVIRONMENT_PREFIX)
        return _with_local_secrets(Settings(**cast("Any", secrets)))
    except SecretFileError as error:
        raise SettingsError(str(error)) from None
    except ValidationError as error:
        problems = map(_explain_problem, error.errors(include_url=False))
        raise SettingsError("\n".join(problems)) from None
    except UnreadableSettingsError as error:
        raise SettingsError(f"{error}; a group of settings is written as JSON") from None


def local_password_file(data: Path, user: str) -> Path:
    """Return where the local stack keeps the password of a user of its ClickHouse."""
    return data / "passwords" / user


def with_command_secret(settings: Settings, secret: str) -> Settings:
    """Return the settings with another secret for commands."""
    kafka = settings.kafka.model_copy(update={"command_secret": SecretStr(secret)})
    return settings.model_copy(update={"kafka": kafka})


def with_login(settings: Settings, user: str, password: str) -> Settings:
    """Return the settings with another user of ClickHouse."""
    login = {"user": user, "password": SecretStr(password)}
    clickhouse = settings.clickhouse.model_copy(update=login)
    return settings.model_copy(update={"clickhouse": clickhouse})


def _with_local_secrets(settings: Settings) -> Settings:
    """Return the settings with the local stack's secrets, if it is meant and they name none.

    So a command in another terminal, with the same data folder, needs no secret set.
    """
    clickhouse, kafka = settings.clickhouse, settings.kafka
    named = clickhouse.user != DEFAULT_USER or clickhouse.password.get_secret_value()
    is_local = not named and urlsplit(clickhouse.url).hostname in LOOPBACK_HOSTS
    if is_local and (password := _local_secret(settings, LOCAL_USER)):
        settings = with_login(settings, LOCAL_USER, password)
    is_local = {host.rpartition(":")[0] for host in kafka.bootstrap.split(",")} <= LOOPBACK_HOSTS
    if is_local and not kafka.command_secret.get_secret_value():
        settings = with_command_secret(settings, _local_secret(settings, COMMANDS_SECRET))
    return settings


def _local_secret(settings: Settings, name: str) -> str:
    """Return a secret that the local stack keeps, "" if it keeps none."""
    try:
        return local_password_file(settings.data_dir, name).read_text().strip()
    except OSError:
        return ""


def _explain_problem(problem: ErrorDetails) -> str:
    """Return the variable, what is wrong with it, and its value unless that may be a secret."""
    place = tuple(problem["loc"])
    variable = ENVIRONMENT_PREFIX + "__".join(str(step).upper() for step in place)
    if problem["type"] == CONTRADICTION:
        return f"{variable}: {problem['msg']}"
    is_secret = place[0] in SECRET_GROUPS and place not in PLAIN_SETTINGS
    value = "" if is_secret else f" (it is {problem['input']!r})"
    return f"{variable}: {problem['msg']}{value}"
