"""The forms of the audio routes: which fields they have, and what those may hold."""

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from engines.recognition import RecognitionOptions
from routes.languages import code_of

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]
Granularity = Literal["word", "segment"]


class AudioForm(BaseModel):
    """What both audio routes take beside `file`.

    Fields that are not named here are accepted and ignored, as OpenAI's clients send fields of
    models that are not here. Among them: `chunking_strategy` (utterances are always found by voice
    activity), `include[]=logprobs` (no engine here gives log-probabilities of tokens, so responses
    have none), `languages` and `known_speaker_*`.
    """

    lists: ClassVar[frozenset[str]] = frozenset()
    """The fields that may come more than once."""

    model: str
    prompt: str = ""
    temperature: float = Field(default=0.0, ge=0, le=1)
    response_format: ResponseFormat = "json"

    @property
    def word_times(self) -> bool:
        """Whether the response may show, or be cut by, the times of words."""
        return self.response_format in ("verbose_json", "srt", "vtt")

    @classmethod
    def from_fields(cls, fields: dict[str, list[str]]) -> Self:
        """The form in the fields of a body; of a field that came twice the last counts.

        Raises pydantic's `ValidationError`.
        """
        return cls.model_validate(
            {name: values if name in cls.lists else values[-1] for name, values in fields.items()}
        )

    @field_validator("response_format", mode="before")
    @classmethod
    def _has_no_speakers(cls, value: Any) -> Any:
        if value == "diarized_json":
            raise ValueError(
                "'diarized_json' needs a model that tells speakers apart, and none is here; "
                "use json, text, srt, vtt or verbose_json"
            )
        return value


class TranslationForm(AudioForm):
    """POST /v1/audio/translations."""

    @property
    def options(self) -> RecognitionOptions:
        return RecognitionOptions(
            prompt=self.prompt,
            temperature=self.temperature,
            task="translate",
            partials=False,
            word_times=self.word_times,
        )


class TranscriptionForm(AudioForm):
    """POST /v1/audio/transcriptions."""

    lists: ClassVar[frozenset[str]] = frozenset({"timestamp_granularities", "keywords"})

    stream: bool = False
    language: str | None = None
    keywords: list[str] = Field(default=[], max_length=100)
    """Words that are likely to be said."""
    hotwords: str = ""
    """The same as one text, as other local servers take them."""
    timestamp_granularities: list[Granularity] = Field(default=[], max_length=10)

    @field_validator("language")
    @classmethod
    def _as_code(cls, value: str | None) -> str | None:
        return code_of(value) if value is not None else None

    @field_validator("timestamp_granularities")
    @classmethod
    def _has_times(cls, value: list[Granularity], info: ValidationInfo) -> list[Granularity]:
        if (
            value
            and not info.data.get("stream")
            and info.data.get("response_format")
            not in (
                None,
                "verbose_json",
            )
        ):
            raise ValueError("timestamps need response_format=verbose_json or stream=true")
        return value

    @field_validator("stream")
    @classmethod
    def _can_stream(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("response_format") in ("srt", "vtt"):
            raise ValueError("a stream is of events; leave out response_format=srt or vtt")
        return value

    @property
    def word_times(self) -> bool:
        return super().word_times or "word" in self.timestamp_granularities

    @property
    def options(self) -> RecognitionOptions:
        likely = (", ".join(filter(None, self.keywords)), self.hotwords.strip(), self.prompt)
        return RecognitionOptions(
            language=self.language,
            prompt=" ".join(filter(None, likely)),
            temperature=self.temperature,
            partials=False,
            word_times=self.word_times,
        )
