import pytest
from aiohttp.test_utils import make_mocked_request
from pydantic import ValidationError

from routes.errors import ApiError, api_error
from routes.forms import TranscriptionForm, TranslationForm


def refused(**fields: list[str]) -> ApiError:
    with pytest.raises(ValidationError) as raised:
        TranscriptionForm.from_fields({"model": ["whisper-1"], **fields})
    found = api_error(raised.value, make_mocked_request("POST", "/"))
    assert found is not None
    assert (found.status, found.code) == (400, "invalid_value")
    return found


def test_every_documented_field_is_understood() -> None:
    form = TranscriptionForm.from_fields(
        {
            "model": ["whisper-1"],
            "language": ["en-GB"],
            "prompt": ["Antiphon"],
            "temperature": ["0.4"],
            "response_format": ["verbose_json"],
            "timestamp_granularities": ["word", "segment"],
            "stream": ["false"],
        }
    )
    options = form.options
    assert (options.language, options.prompt, options.temperature) == ("en", "Antiphon", 0.4)
    assert (options.task, options.partials) == ("transcribe", False)
    assert form.timestamp_granularities == ["word", "segment"]
    assert not form.stream


def test_likely_words_come_before_the_prompt() -> None:
    form = TranscriptionForm.from_fields(
        {
            "model": ["whisper-1"],
            "prompt": ["A talk."],
            "keywords": ["Antiphon", "Szczecin"],
            "hotwords": ["Kowalska"],
        }
    )
    assert form.options.prompt == "Antiphon, Szczecin Kowalska A talk."


def test_the_last_value_of_a_repeated_field_counts() -> None:
    assert TranscriptionForm.from_fields({"model": ["a", "b"]}).model == "b"


def test_a_model_is_required() -> None:
    with pytest.raises(ValidationError) as raised:
        TranscriptionForm.from_fields({})
    found = api_error(raised.value, make_mocked_request("POST", "/"))
    assert found is not None
    assert (found.code, found.param) == ("missing_required_parameter", "model")


@pytest.mark.parametrize("temperature", ["1.01", "-0.1", "nan", "warm"])
def test_temperature_is_between_0_and_1(temperature: str) -> None:
    assert refused(temperature=[temperature]).param == "temperature"


def test_speakers_are_not_told_apart() -> None:
    found = refused(response_format=["diarized_json"])
    assert found.param == "response_format"
    assert "tells speakers apart" in found.message


def test_timestamps_need_a_format_that_shows_them() -> None:
    found = refused(timestamp_granularities=["word"], response_format=["json"])
    assert found.param == "timestamp_granularities"
    assert "verbose_json" in found.message
    streamed = TranscriptionForm.from_fields(
        {"model": ["m"], "timestamp_granularities": ["segment"], "stream": ["true"]}
    )
    assert streamed.timestamp_granularities == ["segment"]
    assert refused(timestamp_granularities=["syllable"]).param == "timestamp_granularities[0]"


@pytest.mark.parametrize("subtitles", ["srt", "vtt"])
def test_subtitles_are_not_streamed(subtitles: str) -> None:
    assert refused(stream=["true"], response_format=[subtitles]).param == "stream"


def test_a_wrong_format_is_the_only_complaint_about_timestamps() -> None:
    found = refused(timestamp_granularities=["word"], response_format=["mp3"])
    assert found.param == "response_format"


@pytest.mark.parametrize(
    ("fields", "exact"),
    [
        ({}, False),
        ({"response_format": ["text"]}, False),
        ({"response_format": ["verbose_json"]}, True),
        ({"response_format": ["srt"]}, True),
        ({"response_format": ["vtt"]}, True),
        ({"stream": ["true"], "timestamp_granularities": ["segment"]}, False),
        ({"stream": ["true"], "timestamp_granularities": ["segment", "word"]}, True),
    ],
)
def test_exact_times_of_words_are_asked_for_where_they_may_be_shown(
    fields: dict[str, list[str]], exact: bool
) -> None:
    fields = {"model": ["m"], **fields}
    assert TranscriptionForm.from_fields(fields).options.word_times is exact
    if "stream" not in fields:
        assert TranslationForm.from_fields(fields).options.word_times is exact


def test_a_translation_asks_the_engine_to_translate() -> None:
    options = TranslationForm.from_fields({"model": ["m"], "prompt": ["p"]}).options
    assert (options.task, options.language, options.prompt) == ("translate", None, "p")
