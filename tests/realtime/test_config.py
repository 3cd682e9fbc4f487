import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from engines.catalogue import ModelRecord
from engines.voices import VoiceRecord
from realtime.config import (
    ConfigError,
    Configuration,
    check_exposure,
    data_dir,
    find_configuration,
    is_loopback,
    load_configuration,
)


@pytest.fixture(autouse=True)
def an_empty_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Neither the working directory nor the user's configuration directory holds a file."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return here


def configured(text: str, environ: dict[str, str] | None = None, **overrides: Any) -> Configuration:
    Path("antiphon.yaml").write_text(text)
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    return load_configuration(None, environ or {}, named)


def refusal(text: str, environ: dict[str, str] | None = None, **overrides: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(text, environ, **overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_nothing_configured_serves_this_machine_only() -> None:
    configuration = load_configuration(None, {}, {})
    assert configuration == Configuration()
    assert (configuration.server.host, configuration.server.port) == ("127.0.0.1", 8800)
    assert configuration.server.keys == ()
    check_exposure(configuration)


def test_a_message_of_fifteen_mebibytes_of_base64_audio_fits() -> None:
    assert Configuration().limits.message_bytes > 15 * 2**20 * 4 / 3 + 1000


def test_a_whole_file_is_read() -> None:
    configuration = configured(
        """
        server:
          host: 0.0.0.0
          port: ${PORT}
          api_key: ${KEY:-none}
          api_keys: [two, three]
          allowed_origins: [https://a.example]
          log_level: DEBUG
        models:
          - name: german
            engine: whisper
            source: someone/whisper-de
            options: {beam_size: 5}
            aliases: [de]
          - {name: none, engine: 'null'}
        providers:
          cloud: {base_url: 'https://api.example/v1', api_key_env: CLOUD_KEY}
        defaults: {transcription: german, language: no}
        limits: {sessions: 3, idle_seconds: 1.5}
        """,
        {"PORT": "9000"},
    )
    server = configuration.server
    assert (server.host, server.port, server.log_level) == ("0.0.0.0", 9000, "debug")
    assert server.keys == ("none", "two", "three")
    assert server.allowed_origins == ("https://a.example",)
    assert configuration.models[0] == ModelRecord(
        name="german",
        engine="whisper",
        source="someone/whisper-de",
        options={"beam_size": 5},
        aliases=("de",),
    )
    assert configuration.providers["cloud"].api_key_env == "CLOUD_KEY"
    assert configuration.defaults.language == "no"
    assert configuration.limits.sessions == 3
    assert configuration.limits.outbound_events == 1024


def test_sections_with_nothing_in_them_are_as_good_as_absent() -> None:
    assert configured("server:\nmodels:\n  # - name: x\nlimits:\n") == Configuration()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server:\n  prot: 1", "2: unknown key 'prot' in 'server'; did you mean 'port'?"),
        ("sever:\n  port: 1", "1: unknown key 'sever'; did you mean 'server'?"),
        ("server:\n  port: 70000", "2: 'server.port' should be less than or equal to 65535"),
        ("server:\n  log_level: loud", "2: 'server.log_level' should be 'debug', 'info', 'warn"),
        ("server:\n  api_key: ä", "2: 'server.api_key' may only hold printable ASCII"),
        ("server:\n  tls_cert: a", "1: 'server' needs 'tls_key': a certificate and its key"),
        ("server:\n  tls_key: a", "1: 'server' needs 'tls_cert'"),
        ("limits:\n  sessions: 0", "2: 'limits.sessions' should be greater than 0"),
        ("limits:\n  idle_seconds: .inf", "2: 'limits.idle_seconds' should be a finite number"),
        ("defaults:\n  language: english", "2: 'defaults.language' should be an ISO 639-1 code"),
        ("models:\n- name: a\n  engine: wisper", "3: unknown engine 'wisper'; did you mean 'whi"),
        ("models:\n- name: a", "2: 'models[0]' needs the key 'engine'"),
        (
            "models:\n- name: a\n  engine: whisper\n  source: ./x\n  options:\n    beam_sise: 2",
            "6: unknown key 'beam_sise' in 'models[0].options'; did you mean 'beam_size'",
        ),
        ("models:\n- name: a\n  engine: whisper", "2: a 'whisper' model needs a 'source'"),
        (
            "models:\n- {name: a, engine: 'null'}\n- engine: 'null'\n  name: a",
            "4: the model name 'a' is already used at line 2",
        ),
        (
            "models:\n- {name: a, engine: 'null'}\n- name: b\n  engine: 'null'\n  aliases: [a]",
            "5: the model name 'a' is already used at line 2",
        ),
        ("providers:\n  a.b: {base_url: 'http://x'}", "2: 'providers.a.b' is no provider's name"),
        (
            "providers:\n  a:\n    base_url: x",
            "3: 'providers.a.base_url' should be an address such as",
        ),
        (
            "providers:\n  a: {base_url: 'http://x', api_key: k, api_key_env: K}",
            "2: 'providers.a' has both 'api_key' and 'api_key_env'; keep one of them",
        ),
        ("models:\n- name: a\n  engine: piper", "2: a 'piper' model needs a 'source': an ONNX"),
        (
            "models:\n- name: a\n  engine: espeak\n  options:\n    voice: en-uss",
            "5: 'models[0].options.voice' espeak-ng has no voice 'en-uss'; did you mean 'en-us'?",
        ),
        (
            "voices:\n  boss:\n    sped: 2",
            "3: unknown key 'sped' in 'voices.boss'; did you mean 's",
        ),
        ("voices:\n  boss:\n    speed: 9", "3: 'voices.boss.speed' should be less than or equal"),
        (
            "models:\n- {name: a, engine: 'null'}\nvoices:\n  boss:\n    model: a",
            "5: the model 'a' does not speak: its engine is 'null'",
        ),
        ("defaults:\n  voise: x", "2: unknown key 'voise' in 'defaults'; did you mean 'voice'?"),
        ("server:\n  host: ${NOWHERE}", "2: the environment variable NOWHERE is not set"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_its_place(text: str, message: str) -> None:
    assert refusal(text).startswith(f"antiphon.yaml:{message}")


def test_environment_variables_win_over_the_file_and_the_command_line_over_both() -> None:
    text = "server: {host: a.example, port: 1, log_level: error}"
    environ = {"ANTIPHON_SERVER_PORT": "2", "ANTIPHON_SERVER_LOG_LEVEL": "info", "HOME": "/"}
    server = configured(text, environ, server__log_level="debug", server__host=None).server
    assert (server.host, server.port, server.log_level) == ("a.example", 2, "debug")


def test_every_kind_of_setting_can_come_from_the_environment() -> None:
    configuration = load_configuration(
        None,
        {
            "ANTIPHON_API_KEY": "one",
            "ANTIPHON_SERVER_API_KEYS": "two, three,",
            "ANTIPHON_SERVER_INSECURE": "yes",
            "ANTIPHON_SERVER_ALLOWED_HOSTS": "a.example,b.example",
            "ANTIPHON_DEFAULTS_TRANSCRIPTION": "base",
            "ANTIPHON_LIMITS_SESSIONS": "7",
            "ANTIPHON_LIMITS_IDLE_SECONDS": "2.5",
            "ANTIPHON_DATA_DIR": "/data",
            "ANTIPHON_SPEECH": "/speech",
        },
    )
    assert configuration.server.keys == ("one", "two", "three")
    assert configuration.server.insecure
    assert configuration.server.allowed_hosts == ("a.example", "b.example")
    assert configuration.defaults.transcription == "base"
    assert (configuration.limits.sessions, configuration.limits.idle_seconds) == (7, 2.5)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "ANTIPHON_SERVER_PROT",
            "1",
            "unknown environment variable 'ANTIPHON_SERVER_PROT'; "
            "did you mean 'ANTIPHON_SERVER_PORT'?",
        ),
        (
            "ANTIPHON_APIKEY",
            "1",
            "unknown environment variable 'ANTIPHON_APIKEY'; did you mean 'ANTIPHON_API_KEY'?",
        ),
        (
            "ANTIPHON_XYZZY_PLUGH_123",
            "1",
            "unknown environment variable 'ANTIPHON_XYZZY_PLUGH_123'",
        ),
        (
            "ANTIPHON_SERVER_PORT",
            "many",
            "ANTIPHON_SERVER_PORT: 'server.port' should be a valid integer, "
            "unable to parse string as an integer",
        ),
        (
            "ANTIPHON_API_KEY",
            "two words",
            "ANTIPHON_API_KEY: 'server.api_key' may only hold printable ASCII characters, "
            "without spaces",
        ),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    variable: str, value: str, message: str
) -> None:
    assert refusal("server:\n  port: 1\n", {variable: value}) == message


def test_a_mistake_on_the_command_line_names_the_option() -> None:
    message = refusal("", server__log_level="loud")
    assert message.startswith("--log-level: 'server.log_level' should be 'debug', ")
    message = refusal("server: {}", server__tls_cert="c.pem")
    assert message.endswith("'server' needs 'tls_key': a certificate and its key come together")


def test_the_file_is_searched_for_in_order(tmp_path: Path) -> None:
    assert find_configuration(None, {}) is None
    user = tmp_path / "config" / "antiphon" / "antiphon.yaml"
    user.parent.mkdir(parents=True)
    user.write_text("server: {port: 1}")
    assert load_configuration(None, {}).server.port == 1
    Path("antiphon.yaml").write_text("server: {port: 2}")
    assert load_configuration(None, {}).server.port == 2
    (tmp_path / "three.yaml").write_text("server: {port: 3}")
    environ = {"ANTIPHON_CONFIG": str(tmp_path / "three.yaml")}
    assert load_configuration(None, environ).server.port == 3
    (tmp_path / "four.yaml").write_text("server: {port: 4}")
    assert load_configuration(tmp_path / "four.yaml", environ).server.port == 4


def test_a_file_that_was_named_must_be_there() -> None:
    with pytest.raises(ConfigError, match=r"^no\.yaml: cannot be read: no such file"):
        load_configuration(Path("no.yaml"), {})
    with pytest.raises(ConfigError, match=r"^no\.yaml: cannot be read: no such file"):
        load_configuration(None, {"ANTIPHON_CONFIG": "no.yaml"})


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path, an_empty_place: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "models" / "mine").mkdir(parents=True)
    file = elsewhere / "a.yaml"
    file.write_text(
        """
        server: {tls_cert: c.pem, tls_key: ~/k.pem}
        models:
          - {name: a, engine: whisper, source: ./x}
          - {name: b, engine: whisper, source: models/mine}
          - {name: c, engine: whisper, source: someone/repository}
          - {name: d, engine: whisper, source: base}
          - {name: e, engine: whisper, source: /absolute}
        """
    )
    configuration = load_configuration(file, {})
    assert configuration.server.tls_cert == elsewhere / "c.pem"
    assert configuration.server.tls_key == Path.home() / "k.pem"
    assert [model.source for model in configuration.models] == [
        str(elsewhere / "x"),
        str(elsewhere / "models" / "mine"),
        "someone/repository",
        "base",
        "/absolute",
    ]
    options = {"server.tls_cert": Path("c.pem")}
    assert load_configuration(file, {}, options).server.tls_cert == an_empty_place / "c.pem"


def test_keys_are_never_shown() -> None:
    configuration = configured(
        "server: {api_key: hidden-1, api_keys: [hidden-2]}\n"
        "providers: {a: {base_url: 'http://x', api_key: hidden-3}}"
    )
    shown = repr(configuration) + str(configuration) + configuration.model_dump_json()
    assert "hidden" not in shown
    assert configuration.server.keys == ("hidden-1", "hidden-2")
    assert configuration.providers["a"].api_key == SecretStr("hidden-3")
    assert "hidden" not in refusal("server: {api_key: hidden 4}")


def test_an_empty_key_is_no_key() -> None:
    configuration = configured(
        "server: {host: 0.0.0.0, api_key: '', api_keys: ['']}", {"ANTIPHON_API_KEY": ""}
    )
    assert configuration.server.keys == ()
    with pytest.raises(ConfigError):
        check_exposure(configuration)
    environ = {"ANTIPHON_API_KEY": ""}
    assert configured("server: {api_key: kept}", environ).server.keys == ("kept",)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "my-computer", "localhost.evil"])
def test_a_bind_that_others_reach_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_exposure(configured("", server__host=host))
    assert str(caught.value) == (
        f"other machines can reach {host}, and no API key is set: set ANTIPHON_API_KEY to a secret "
        "of your choice, or pass --insecure to serve everybody who can reach this machine"
    )
    check_exposure(configured("", {"ANTIPHON_API_KEY": "k"}, server__host=host))
    check_exposure(configured("", {"ANTIPHON_SERVER_API_KEYS": "k"}, server__host=host))
    check_exposure(configured("", server__host=host, server__insecure=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert is_loopback(host)
    check_exposure(configured("", server__host=host))


def test_both_kinds_of_tls_at_once_are_refused() -> None:
    message = refusal("server:\n  tls_self_signed: true\n  tls_cert: a\n  tls_key: b")
    assert message.endswith("has both 'tls_self_signed' and 'tls_cert'; keep one of them")
    assert configured("server: {tls_self_signed: true}").server.tls
    assert configured("server: {tls_cert: a, tls_key: b}").server.tls
    assert not configured("").server.tls


def test_the_data_directory_is_the_platforms_unless_named(
    tmp_path: Path, an_empty_place: Path
) -> None:
    assert data_dir({}).name == "antiphon"
    assert data_dir({"ANTIPHON_DATA_DIR": ""}) == data_dir({})
    assert data_dir({"ANTIPHON_DATA_DIR": "~/x"}) == Path.home() / "x"
    assert data_dir({"ANTIPHON_DATA_DIR": "y"}) == an_empty_place / "y"
    assert os.path.isabs(data_dir({}))


def test_voices_are_named_by_their_owner() -> None:
    configuration = configured(
        """
        models:
          - {name: trio, engine: piper, source: someone/trio}
        voices:
          boss: {model: trio, voice: bob, speed: 1.2}
          reader: {voice: fr}
        defaults: {speech: trio, voice: boss}
        """
    )
    assert configuration.voices == {
        "boss": VoiceRecord(model="trio", voice="bob", speed=1.2),
        "reader": VoiceRecord(voice="fr"),
    }
    assert (configuration.defaults.speech, configuration.defaults.voice) == ("trio", "boss")
    environ = {"ANTIPHON_DEFAULTS_VOICE": "reader"}
    assert configured("", environ).defaults.voice == "reader"


def test_the_home_of_nobody_is_a_path_like_any_other(tmp_path: Path) -> None:
    configuration = configured(
        """
        server: {tls_cert: ~nobody-at-all/cert, tls_key: ~nobody-at-all/key}
        models: [{name: a, engine: whisper, source: ~nobody-at-all/model}]
        """
    )
    assert str(configuration.server.tls_key).endswith("/~nobody-at-all/key")
    assert str(configuration.models[0].source).endswith("/~nobody-at-all/model")
    assert data_dir({"ANTIPHON_DATA_DIR": "~nobody-at-all"}).name == "~nobody-at-all"
    with pytest.raises(ConfigError, match="~nobody-at-all"):
        load_configuration(None, {"ANTIPHON_CONFIG": "~nobody-at-all/antiphon.yaml"})
    with pytest.raises(ConfigError, match="~nobody-at-all"):
        load_configuration(Path("~nobody-at-all/antiphon.yaml"))
