"""The server's configuration: `antiphon.yaml`, `ANTIPHON_*` variables and the command line."""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from engines.catalogue import ModelRecord
from engines.strict_yaml import ConfigError, Document, load, unknown_name, validate
from engines.voices import VoiceRecord
from realtime.config_models import SOURCES, check_models, check_voices

__all__ = [
    "ConfigError",
    "Configuration",
    "Conversation",
    "Defaults",
    "Limits",
    "Provider",
    "ServerSettings",
    "check_exposure",
    "configured_server",
    "data_dir",
    "find_configuration",
    "is_loopback",
    "load_configuration",
    "server_url",
]

FILE_NAME = "antiphon.yaml"
PREFIX = "ANTIPHON_"
KEY_VARIABLE = "ANTIPHON_API_KEY"
OTHER_VARIABLES = ("ANTIPHON_CONFIG", "ANTIPHON_DATA_DIR", "ANTIPHON_SPEECH", "ANTIPHON_URL")
"""Variables that are not settings: where things are, what the clients and the tests use."""

MIB = 1 << 20


def _split_by_commas(value: Any) -> Any:
    # Environment variables and the command line can only write lists as text.
    return [part.strip() for part in value.split(",") if part.strip()] if _is_text(value) else value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _usable_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if text and not (text.isascii() and text.isprintable() and " " not in text):
        raise ValueError("may only hold printable ASCII characters, without spaces")
    return key


def _language_code(code: str) -> str:
    if re.fullmatch("[a-z]{2,3}", code) is None:
        raise ValueError("should be an ISO 639-1 code such as 'en'")
    return code


def _web_address(address: str) -> str:
    if re.fullmatch(r"https?://[^\s/]+(/\S*)?", address) is None:
        raise ValueError("should be an address such as 'https://api.example.com/v1'")
    return address


def _provider_name(name: str) -> str:
    if re.fullmatch("[A-Za-z0-9_-]+", name) is None:
        raise ValueError("is no provider's name: use letters, digits, '-' and '_'")
    return name


Names = Annotated[tuple[str, ...], BeforeValidator(_split_by_commas)]
Key = Annotated[SecretStr, AfterValidator(_usable_key)]
Count = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    """A part of the configuration. Secrets never appear in its repr."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ServerSettings(_Section):
    """Where the server listens, and who may use it."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8800, ge=0, le=65535)
    """0 takes any free port."""
    api_key: Key | None = None
    api_keys: Annotated[tuple[Key, ...], BeforeValidator(_split_by_commas)] = ()
    """Further keys; each one alone gives access."""
    insecure: bool = False
    """Serve other machines without a key."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_self_signed: bool = False
    allowed_origins: Names = ()
    """Origins beside the server's own that may use it from a browser (`*`: any)."""
    allowed_hosts: Names = ()
    """Host names beside loopback and the bound address that may name this server (`*`: any)."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    grace_seconds: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    """How long work in progress may take to finish when the server is asked to stop."""

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_any_case(cls, level: Any) -> Any:
        return level.lower() if isinstance(level, str) else level

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_cert"
            raise ValueError(f"needs '{missing}': a certificate and its key come together")
        if self.tls_self_signed and self.tls_cert is not None:
            raise ValueError("has both 'tls_self_signed' and 'tls_cert'; keep one of them")
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that gives access, in plain text; an empty key is none."""
        keys = [self.api_key] if self.api_key else []
        plain = [key.get_secret_value() for key in (*keys, *self.api_keys)]
        return tuple(dict.fromkeys(key for key in plain if key))

    @property
    def tls(self) -> bool:
        return self.tls_self_signed or self.tls_cert is not None


class Defaults(_Section):
    """What is used where a request does not say."""

    transcription: str | None = Field(default=None, min_length=1)
    """Name of a model; None: the one installed last, or PocketSphinx."""
    chat: str | None = Field(default=None, min_length=1)
    """Name of a model, here or at a provider (`openai.gpt-5`); None: the one installed last."""
    speech: str | None = Field(default=None, min_length=1)
    """Name of a model that speaks; None: the Piper voice installed last, or espeak."""
    voice: str | None = Field(default=None, min_length=1)
    """Any name of a voice; None: the first of the model."""
    language: Annotated[str, AfterValidator(_language_code)] | None = None
    """An ISO 639-1 code; None: the model detects it."""


class Conversation(_Section):
    """How conversation sessions begin; clients can change all of it."""

    instructions: str = (
        "You are a helpful assistant that people talk to. Answer in their language, in a few short "
        "spoken sentences, without lists and formatting."
    )
    """What the language model is told first."""
    confirm_speaking_ms: int = Field(default=300, ge=0, le=5000)
    """How long somebody must speak over an answer that is heard, to interrupt it."""
    confirm_thinking_ms: int = Field(default=150, ge=0, le=5000)
    """The same for an answer that is still being made."""
    preemptive: bool = False
    """Begin to answer when the speaker pauses, before it is certain that the turn is over."""
    lead_ms: Annotated[int, Field(ge=20, le=5000)] | None = None
    """Most sound that is sent before it can have been heard; None: all that there is."""


class Limits(_Section):
    """Bounds on what one client, and all of them together, can make the server hold."""

    sessions: Count = 64
    """Realtime sessions open at once."""
    message_bytes: Count = 32 * MIB
    """Longest WebSocket message; 15 MiB of audio are 20 MiB of base64."""
    upload_bytes: Count = 512 * MIB
    """Largest request body."""
    upload_audio_seconds: Seconds = 4 * 3600.0
    """Longest recording to transcribe; a small file can hold hours of silence."""
    idle_seconds: Seconds = 600.0
    """How long a client may send nothing before its session is closed."""
    session_seconds: Seconds = 3600.0
    """Longest session."""
    manual_buffer_seconds: Seconds = 600.0
    """Longest audio a client may append without committing it, while it has no VAD."""
    retained_audio_seconds: Seconds = 120.0
    """Audio kept for each session so that clients can retrieve its items."""
    unprocessed_audio_seconds: Seconds = 5.0
    """Audio that may wait in a session before its socket is read more slowly."""
    outbound_events: Count = 1024
    """Events that may wait for a client that reads slowly, before it is disconnected."""


class Provider(_Section):
    """An OpenAI-compatible service elsewhere; its models are called `<provider>.<model id>`."""

    base_url: Annotated[str, AfterValidator(_web_address)]
    api_key: Key | None = None
    api_key_env: str | None = Field(default=None, min_length=1)
    """Name of the environment variable that holds the key."""

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key is not None and self.api_key_env is not None:
            raise ValueError("has both 'api_key' and 'api_key_env'; keep one of them")
        return self


class Configuration(_Section):
    """Everything that the owner of the server can set."""

    server: ServerSettings = ServerSettings()
    models: tuple[ModelRecord, ...] = ()
    providers: dict[Annotated[str, AfterValidator(_provider_name)], Provider] = Field(
        default_factory=dict
    )
    voices: dict[Annotated[str, Field(min_length=1)], VoiceRecord] = Field(default_factory=dict)
    """Voices by names of the owner's choice."""
    defaults: Defaults = Defaults()
    conversation: Conversation = Conversation()
    limits: Limits = Limits()

    @property
    def provider_chat(self) -> str | None:
        """The default chat model, where it is a provider's."""
        name = self.defaults.chat or ""
        return name if name.partition(".")[0] in self.providers and "." in name else None

    @property
    def local_chat(self) -> str | None:
        """The default chat model, where it is one of ours."""
        return None if self.provider_chat else self.defaults.chat

    @model_validator(mode="before")
    @classmethod
    def _without_empty_sections(cls, value: Any) -> Any:
        # `models:` with every line below it commented out is a null, and means nothing was set.
        if not isinstance(value, dict):
            return value
        return {key: part for key, part in value.items() if part is not None}


SECTIONS: Mapping[str, type[BaseModel]] = {
    "server": ServerSettings,
    "defaults": Defaults,
    "conversation": Conversation,
    "limits": Limits,
}
"""The sections whose keys environment variables can set."""


def find_configuration(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: `path`, `ANTIPHON_CONFIG`, `./antiphon.yaml`, or the user's own."""
    if path is not None:
        return _expanded(path)
    if environ.get("ANTIPHON_CONFIG"):
        return _expanded(environ["ANTIPHON_CONFIG"])
    user = Path(platformdirs.user_config_dir("antiphon", appauthor=False))
    candidates = (Path(FILE_NAME), user / FILE_NAME)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def data_dir(environ: Mapping[str, str]) -> Path:
    """Where models and certificates live: `ANTIPHON_DATA_DIR`, or the platform's place."""
    if environ.get("ANTIPHON_DATA_DIR"):
        return _expanded(environ["ANTIPHON_DATA_DIR"]).absolute()
    return Path(platformdirs.user_data_dir("antiphon", appauthor=False))


def _expanded(path: str | Path) -> Path:
    """`path` with the home that its `~` means; as it is where nobody has such a home."""
    return Path(os.path.expanduser(path))  # Path.expanduser raises where there is none


def load_configuration(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Configuration:
    """Read the configuration; the command line wins over the environment, that over the file.

    `overrides` are dotted names and values (`{"server.port": 9000}`); a None is not set. Raises
    `ConfigError`, one line that names the file and line, variable or option at fault. Blocks.
    """
    environ = environ or {}
    found = find_configuration(path, environ)
    document = Document(FILE_NAME, {}) if found is None else load(found, environ)
    for names, value, origin in _from_environment(environ):
        document = document.overlaid(names, value, origin)
    for dotted_name, value in (overrides or {}).items():
        if value is not None:
            path_names = tuple(dotted_name.split("."))
            document = document.overlaid(path_names, value, f"--{path_names[-1].replace('_', '-')}")
    configuration = validate(Configuration, document)
    check_models(configuration.models, document)
    check_voices(configuration.voices, configuration.models, document)
    base = Path() if found is None else found.absolute().parent
    return _with_absolute_paths(configuration, document, base)


def server_url(host: str, port: int, secure: bool) -> str:
    """The address as browsers and clients take it."""
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if secure else 'http'}://{shown}:{port}"


def configured_server(configuration: Configuration) -> tuple[str, str | None]:
    """Address and key of the server that `antiphon serve` would start here."""
    server = configuration.server
    host = "127.0.0.1" if server.host in ("0.0.0.0", "::") else server.host
    return server_url(host, server.port, server.tls), next(iter(server.keys), None)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(configuration: Configuration) -> None:
    """Raise `ConfigError` when other machines could use the server without a key."""
    server = configuration.server
    if is_loopback(server.host) or server.keys or server.insecure:
        return
    raise ConfigError(
        None,
        None,
        f"other machines can reach {server.host}, and no API key is set: set {KEY_VARIABLE} to a "
        "secret of your choice, or pass --insecure to serve everybody who can reach this machine",
    )


def _from_environment(
    environ: Mapping[str, str],
) -> Iterator[tuple[tuple[str, str], str, str]]:
    """Path, value and variable of every setting in the environment."""
    known = {
        f"{PREFIX}{section}_{key}".upper(): (section, key)
        for section, model in SECTIONS.items()
        for key in model.model_fields
    }
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        if variable in OTHER_VARIABLES or variable == KEY_VARIABLE:
            continue
        if variable not in known:
            names = (*known, KEY_VARIABLE, *OTHER_VARIABLES)
            message = unknown_name("environment variable", variable, names)
            raise ConfigError(None, None, message.partition("; valid:")[0])
        yield known[variable], environ[variable], variable
    if environ.get(KEY_VARIABLE):
        yield ("server", "api_key"), environ[KEY_VARIABLE], KEY_VARIABLE


def _with_absolute_paths(
    configuration: Configuration, document: Document, base: Path
) -> Configuration:
    """Paths in the file are relative to it; those of variables and options to where we are."""

    def absolute(name: str, path: Path | None) -> Path | None:
        if path is None:
            return None
        from_file = ("server", name) not in document.origins
        return (base if from_file else Path.cwd()) / _expanded(path)

    def located(record: ModelRecord) -> ModelRecord:
        if not record.source or record.engine not in SOURCES:
            return record
        path = base / _expanded(record.source)
        if record.source.startswith((".", "~", "/")) or path.exists():
            return record.model_copy(update={"source": str(path)})
        return record

    server = configuration.server
    paths = {
        "tls_cert": absolute("tls_cert", server.tls_cert),
        "tls_key": absolute("tls_key", server.tls_key),
    }
    return configuration.model_copy(
        update={
            "server": server.model_copy(update=paths),
            "models": tuple(located(record) for record in configuration.models),
        }
    )
