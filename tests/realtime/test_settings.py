"""Settings of a transcription session: defaults, deep merge, refusals, and the echo."""

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as runs
from hypothesis import strategies as st
from openai.types.realtime import RealtimeTranscriptionSessionCreateRequest as Request
from openai.types.realtime import realtime_transcription_session_create_response as response

from engines.audio import AudioFormat
from realtime.settings import (
    NoiseReduction,
    SemanticVad,
    ServerVad,
    Settings,
    SettingsError,
    Transcription,
    echo,
    merge,
    transcription_settings,
    turn_settings,
)

Response = response.RealtimeTranscriptionSessionCreateResponse

DEFAULT = Settings("built-in")


def patched(settings: Settings = DEFAULT, /, **source: Any) -> Settings:
    """`settings` after an update of `audio.input`."""
    return merge(settings, {"type": "transcription", "audio": {"input": source}}).settings


def refusal(settings: Settings = DEFAULT, /, **source: Any) -> tuple[str, str]:
    with pytest.raises(SettingsError) as caught:
        patched(settings, **source)
    assert caught.value.message
    return caught.value.code, caught.value.param


def source_echo(settings: Settings) -> dict[str, Any]:
    """The echoed `audio.input`, after both of the SDK's types accepted the session."""
    session = echo(settings, "sess_1", 1_800_000_000)
    Request.model_validate(session, strict=True)
    Response.model_validate(session, strict=True)
    assert session["object"] == "realtime.transcription_session"
    source: dict[str, Any] = session["audio"]["input"]
    return source


def test_the_defaults_are_echoed_whole() -> None:
    assert echo(DEFAULT, "sess_1", 5) == {
        "type": "transcription",
        "object": "realtime.transcription_session",
        "id": "sess_1",
        "expires_at": 5,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": {"model": "built-in"},
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                },
            }
        },
    }
    source_echo(DEFAULT)


def test_an_update_of_the_type_alone_changes_nothing() -> None:
    assert merge(DEFAULT, {"type": "transcription"}).settings == DEFAULT
    assert merge(DEFAULT, {"type": "transcription", "audio": None}).settings == DEFAULT
    assert merge(DEFAULT, {"type": "transcription", "audio": {"input": None}}).settings == DEFAULT


@pytest.mark.parametrize("patch", [{}, {"type": None}])
def test_a_missing_type_is_a_missing_parameter(patch: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        merge(DEFAULT, patch)
    assert caught.value.code == "missing_required_parameter"
    assert caught.value.message == "Missing required parameter: 'session.type'."
    assert caught.value.param == "session.type"


def test_a_realtime_update_is_not_allowed_in_a_transcription_session() -> None:
    with pytest.raises(SettingsError, match="realtime session update event to a transcription"):
        merge(DEFAULT, {"type": "realtime"})


@pytest.mark.parametrize("kind", ["translation", "", 1, [], {}])
def test_another_type_is_an_invalid_value(kind: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        merge(DEFAULT, {"type": kind})
    assert (caught.value.code, caught.value.param) == ("invalid_value", "session.type")


def test_unknown_keys_are_reported_and_ignored() -> None:
    merged = merge(
        DEFAULT,
        {
            "type": "transcription",
            "foo": 1,
            "audio": {"output": {}, "input": {"transcription": {"model": "m", "heat": 1}}},
        },
    )
    assert merged.settings.model == "m"
    assert merged.ignored == (
        "session.foo",
        "session.audio.output",
        "session.audio.input.transcription.heat",
    )


def test_the_report_of_unknown_keys_is_bounded() -> None:
    merged = merge(DEFAULT, {"type": "transcription"} | {"k" * n: 1 for n in range(100, 1000)})
    assert len(merged.ignored) == 32
    assert all(len(path) < 100 for path in merged.ignored)


def test_known_keys_are_not_reported() -> None:
    vad = {"type": "server_vad", "create_response": True, "interrupt_response": False}
    source: dict[str, Any] = {
        "format": None,
        "noise_reduction": None,
        "transcription": None,
        "turn_detection": vad | {"idle_timeout_ms": 6000},
    }
    patch = {"type": "transcription", "include": None, "audio": {"input": source}}
    assert merge(DEFAULT, patch).ignored == ()


class TestFormat:
    @pytest.mark.parametrize(
        ("wanted", "format"),
        [
            ({"type": "audio/pcm", "rate": 24_000}, AudioFormat("pcm16", 24_000)),
            ({"type": "audio/pcm"}, AudioFormat("pcm16", 24_000)),
            ({"rate": 16_000}, AudioFormat("pcm16", 16_000)),
            ({"type": "audio/pcm", "rate": 8_000}, AudioFormat("pcm16", 8_000)),
            ({"type": "audio/pcm", "rate": 48_000}, AudioFormat("pcm16", 48_000)),
            ({"type": "audio/pcmu"}, AudioFormat("pcmu", 8_000)),
            ({"type": "audio/pcma", "rate": 8_000}, AudioFormat("pcma", 8_000)),
        ],
    )
    def test_formats_are_accepted(self, wanted: dict[str, Any], format: AudioFormat) -> None:
        settings = patched(format=wanted)
        assert settings.format == format
        assert patched(settings, turn_detection=None).format == format
        assert patched(settings, format=None).format == AudioFormat("pcm16", 24_000)

    def test_g711_is_echoed_without_a_rate(self) -> None:
        assert source_echo(patched(format={"type": "audio/pcmu"}))["format"] == {
            "type": "audio/pcmu"
        }
        assert source_echo(patched(format={"type": "audio/pcma"}))["format"] == {
            "type": "audio/pcma"
        }

    def test_the_rate_is_kept_until_the_type_changes(self) -> None:
        wide = patched(format={"rate": 16_000})
        assert patched(wide, format={"type": "audio/pcm"}).format.rate == 16_000
        narrow = patched(wide, format={"type": "audio/pcmu"})
        assert patched(narrow, format={"type": "audio/pcm"}).format.rate == 24_000

    @pytest.mark.parametrize(
        ("wanted", "field"),
        [
            ("pcm16", ""),
            ([], ""),
            ({"type": "pcm16"}, ".type"),
            ({"type": 1}, ".type"),
            ({"rate": 7_999}, ".rate"),
            ({"rate": 48_001}, ".rate"),
            ({"rate": True}, ".rate"),
            ({"rate": 24_000.5}, ".rate"),
            ({"rate": "24000"}, ".rate"),
            ({"type": "audio/pcmu", "rate": 16_000}, ".rate"),
        ],
    )
    def test_other_formats_are_invalid_values(self, wanted: Any, field: str) -> None:
        assert refusal(format=wanted) == ("invalid_value", f"session.audio.input.format{field}")


class TestTranscription:
    def test_present_keys_are_merged_and_the_others_kept(self) -> None:
        first = patched(transcription={"model": "whisper-1", "language": "de"})
        both = patched(first, transcription={"prompt": "Fachwörter"})
        assert both.transcription == Transcription("whisper-1", "de", "Fachwörter")
        assert source_echo(both)["transcription"] == {
            "model": "whisper-1",
            "language": "de",
            "prompt": "Fachwörter",
        }
        assert transcription_settings(both) == {
            "model": "whisper-1",
            "language": "de",
            "prompt": "Fachwörter",
            "word_times": False,
        }

    def test_null_goes_back_to_the_default_model_without_hints(self) -> None:
        settings = patched(transcription={"model": "whisper-1", "language": "de"})
        cleared = patched(settings, transcription=None)
        assert cleared == DEFAULT
        assert transcription_settings(cleared) == {
            "model": "built-in",
            "language": None,
            "prompt": "",
            "word_times": False,
        }

    def test_null_fields_and_an_empty_language_are_cleared(self) -> None:
        settings = patched(transcription={"model": "whisper-1", "language": "de", "prompt": "x"})
        assert patched(settings, transcription={"model": None}).model == "built-in"
        assert patched(settings, transcription={"language": ""}).transcription.language is None
        assert patched(settings, transcription={"language": None}).transcription.language is None
        assert patched(settings, transcription={"prompt": None}).transcription.prompt is None
        assert patched(settings, transcription={"prompt": ""}).transcription.prompt == ""

    @pytest.mark.parametrize(
        "name", ["gpt-4o-mini-transcribe", "gpt-4o-transcribe", "gpt-realtime-whisper"]
    )
    def test_the_name_of_a_model_is_echoed_as_the_client_wrote_it(self, name: str) -> None:
        assert source_echo(patched(transcription={"model": name}))["transcription"] == {
            "model": name
        }

    def test_hints_for_other_models_are_echoed_only_if_given(self) -> None:
        hints = {"languages": ["en", "de"], "keywords": ["Antiphon"], "delay": "low"}
        settings = patched(transcription=hints)
        assert source_echo(settings)["transcription"] == {"model": "built-in", **hints}
        nothing = {"languages": None, "keywords": None, "delay": None}
        assert patched(settings, transcription=nothing) == DEFAULT

    @pytest.mark.parametrize(
        ("hints", "field"),
        [
            ("whisper-1", ""),
            ({"model": 1}, ".model"),
            ({"model": "m" * 257}, ".model"),
            ({"language": ["en"]}, ".language"),
            ({"prompt": 5}, ".prompt"),
            ({"prompt": "p" * 16_385}, ".prompt"),
            ({"languages": "en"}, ".languages"),
            ({"languages": ["en", 1]}, ".languages[1]"),
            ({"keywords": ["k"] * 1_001}, ".keywords"),
            ({"delay": "none"}, ".delay"),
        ],
    )
    def test_wrong_hints_are_invalid_values(self, hints: Any, field: str) -> None:
        param = f"session.audio.input.transcription{field}"
        assert refusal(transcription=hints) == ("invalid_value", param)

    def test_a_wrong_choice_lists_the_right_ones(self) -> None:
        with pytest.raises(SettingsError) as caught:
            patched(transcription={"delay": "none"})
        assert caught.value.message == (
            "Invalid value: 'none'. Supported values are: "
            "'minimal', 'low', 'medium', 'high', and 'xhigh'."
        )


class TestTurnDetection:
    def test_present_keys_are_merged(self) -> None:
        settings = patched(turn_detection={"threshold": 0.3, "silence_duration_ms": 900})
        assert settings.turn_detection == ServerVad(0.3, 300, 900)
        again = patched(settings, turn_detection={"type": "server_vad", "prefix_padding_ms": 0})
        assert again.turn_detection == ServerVad(0.3, 0, 900)
        assert source_echo(again)["turn_detection"] == {
            "type": "server_vad",
            "threshold": 0.3,
            "prefix_padding_ms": 0,
            "silence_duration_ms": 900,
        }
        assert turn_settings(again) == {
            "mode": "server",
            "threshold": 0.3,
            "prefix_padding": 0.0,
            "silence": 0.9,
        }

    def test_null_fields_go_back_to_their_defaults(self) -> None:
        settings = patched(turn_detection={"threshold": 0.3, "silence_duration_ms": 900})
        reset = {"threshold": None, "silence_duration_ms": None}
        assert patched(settings, turn_detection=reset) == DEFAULT

    def test_null_means_manual_turns(self) -> None:
        settings = patched(turn_detection=None)
        assert settings.turn_detection is None
        assert source_echo(settings)["turn_detection"] is None
        assert turn_settings(settings)["mode"] == "manual"
        assert patched(settings, turn_detection={"type": "server_vad"}) == DEFAULT

    def test_manual_turns_are_left_only_by_naming_a_type(self) -> None:
        assert refusal(patched(turn_detection=None), turn_detection={"threshold": 0.3}) == (
            "missing_required_parameter",
            "session.audio.input.turn_detection.type",
        )

    @pytest.mark.parametrize(
        ("eagerness", "silence"),
        [("low", 1.2), ("medium", 0.7), ("auto", 0.7), (None, 0.7), ("high", 0.4)],
    )
    def test_semantic_vad_is_a_silence_by_eagerness(
        self, eagerness: str | None, silence: float
    ) -> None:
        settings = patched(turn_detection={"type": "semantic_vad", "eagerness": eagerness})
        assert turn_settings(settings) == {
            "mode": "server",
            "threshold": 0.5,
            "prefix_padding": 0.3,
            "silence": silence,
        }
        assert source_echo(settings)["turn_detection"] == {
            "type": "semantic_vad",
            "eagerness": eagerness or "auto",
        }

    def test_changing_the_type_starts_from_the_defaults(self) -> None:
        settings = patched(turn_detection={"threshold": 0.9})
        semantic = patched(settings, turn_detection={"type": "semantic_vad", "eagerness": "low"})
        assert semantic.turn_detection == SemanticVad("low")
        assert patched(semantic, turn_detection={"eagerness": "high"}).turn_detection == (
            SemanticVad("high")
        )
        assert patched(semantic, turn_detection={"type": "server_vad"}) == DEFAULT

    @pytest.mark.parametrize(
        ("detection", "field"),
        [
            ("server_vad", ""),
            (False, ""),
            ({"type": "none"}, ".type"),
            ({"threshold": 1.01}, ".threshold"),
            ({"threshold": -0.1}, ".threshold"),
            ({"threshold": True}, ".threshold"),
            ({"threshold": "0.5"}, ".threshold"),
            ({"threshold": math.nan}, ".threshold"),
            ({"prefix_padding_ms": -1}, ".prefix_padding_ms"),
            ({"prefix_padding_ms": 5_001}, ".prefix_padding_ms"),
            ({"prefix_padding_ms": 1.5}, ".prefix_padding_ms"),
            ({"silence_duration_ms": 19}, ".silence_duration_ms"),
            ({"silence_duration_ms": 10_001}, ".silence_duration_ms"),
            ({"silence_duration_ms": True}, ".silence_duration_ms"),
            ({"create_response": "yes"}, ".create_response"),
            ({"interrupt_response": 1}, ".interrupt_response"),
            ({"idle_timeout_ms": -5}, ".idle_timeout_ms"),
            ({"idle_timeout_ms": 99}, ".idle_timeout_ms"),
            ({"type": "semantic_vad", "create_response": 0}, ".create_response"),
            ({"type": "semantic_vad", "eagerness": "eager"}, ".eagerness"),
        ],
    )
    def test_wrong_values_are_invalid(self, detection: Any, field: str) -> None:
        param = f"session.audio.input.turn_detection{field}"
        assert refusal(turn_detection=detection) == ("invalid_value", param)

    @pytest.mark.parametrize(
        ("key", "low", "high"),
        [
            ("threshold", 0, 1),
            ("prefix_padding_ms", 0, 5_000),
            ("silence_duration_ms", 20, 10_000),
        ],
    )
    def test_the_ends_of_each_range_are_valid(self, key: str, low: int, high: int) -> None:
        for value in (low, high):
            settings = patched(turn_detection={key: value})
            assert source_echo(settings)["turn_detection"][key] == value


class TestNoiseReduction:
    def test_it_is_kept_and_echoed(self) -> None:
        settings = patched(noise_reduction={"type": "near_field"})
        assert source_echo(settings)["noise_reduction"] == {"type": "near_field", "strength": 1.0}
        assert patched(settings, noise_reduction=None) == DEFAULT

    def test_leaving_out_the_strength_keeps_it(self) -> None:
        settings = patched(noise_reduction={"type": "near_field", "strength": 0.5})
        far = patched(settings, noise_reduction={"type": "far_field"})
        assert far.noise_reduction == NoiseReduction("far_field", 0.5)

    def test_wrong_values_are_invalid(self) -> None:
        param = "session.audio.input.noise_reduction"
        assert refusal(noise_reduction="near_field") == ("invalid_value", param)
        assert refusal(noise_reduction={"type": "near"}) == ("invalid_value", f"{param}.type")
        assert refusal(noise_reduction={"strength": 2}) == ("invalid_value", f"{param}.strength")


def test_include_is_kept_echoed_and_cleared() -> None:
    logprobs = ["item.input_audio_transcription.logprobs"]
    settings = merge(DEFAULT, {"type": "transcription", "include": logprobs}).settings
    assert echo(settings, "s", 1)["include"] == logprobs
    source_echo(settings)
    assert settings.logprobs
    assert transcription_settings(settings)["word_times"]
    none = merge(settings, {"type": "transcription", "include": []}).settings
    assert not transcription_settings(none)["word_times"]
    assert merge(settings, {"type": "transcription", "include": None}).settings == DEFAULT
    with pytest.raises(SettingsError) as caught:
        merge(DEFAULT, {"type": "transcription", "include": [*logprobs, "everything"]})
    assert caught.value.param == "session.include[1]"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
KEYS = {
    "format": ["type", "rate"],
    "transcription": ["model", "language", "prompt", "languages", "keywords", "delay"],
    "noise_reduction": ["type", "strength"],
    "turn_detection": [
        "type",
        "threshold",
        "prefix_padding_ms",
        "silence_duration_ms",
        "eagerness",
        "idle_timeout_ms",
    ],
}
WORDS = st.sampled_from(
    ["audio/pcm", "audio/pcmu", "server_vad", "semantic_vad", "near_field", "low", "high"]
)
SOURCES = st.fixed_dictionaries(
    {},
    optional={
        name: JSON | st.dictionaries(st.sampled_from(keys), WORDS | JSON)
        for name, keys in KEYS.items()
    },
)


@runs(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(SOURCES | JSON, max_size=4))
def test_any_updates_are_refused_or_leave_settings_that_can_be_echoed(patches: list[Any]) -> None:
    settings, refusals = DEFAULT, list[SettingsError]()
    for source in patches:
        try:
            settings = patched(settings, **source) if isinstance(source, dict) else settings
            settings = merge(settings, {"type": "transcription", "audio": source}).settings
        except SettingsError as error:
            refusals.append(error)
    assert all(e.code in ("invalid_value", "missing_required_parameter") for e in refusals)
    assert all(e.param.startswith("session.") for e in refusals)
    if settings.format.encoding == "pcm16":
        settings = patched(settings, format=None)
    source_echo(settings)
    assert turn_settings(settings)["mode"] in ("server", "manual")
