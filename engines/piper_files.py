"""Piper voices as files: an ONNX network, and beside it what its sounds and speakers are called."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.base import EngineError
from engines.synthesis import Voice

NETWORK = ".onnx"
DESCRIPTION = ".json"
"""What the description's name has more than the network's."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Audio(_Part):
    sample_rate: int = Field(gt=0, le=192_000)
    quality: str = ""


class _Espeak(_Part):
    voice: str


class _Language(_Part):
    code: str = ""
    name_english: str = ""
    country_english: str = ""


class VoiceFile(_Part):
    """What a voice's description says, as far as it matters before it is loaded.

    `speaker_id_map` may be empty where `num_speakers` is not.
    """

    audio: _Audio
    espeak: _Espeak
    language: _Language = _Language()
    num_symbols: int = Field(gt=0)
    num_speakers: int = Field(ge=0, le=100_000)
    phoneme_type: Literal["espeak", "text", "pinyin", "hebrew", "japanese", "thai"] = "espeak"
    phoneme_id_map: dict[str, list[int]]
    speaker_id_map: dict[str, int] = Field(default_factory=dict)

    @property
    def tag(self) -> str:
        """The language: `en-us`."""
        return (self.language.code or self.espeak.voice).lower().replace("_", "-")

    @property
    def described(self) -> str:
        """Such as `English (United States), medium`."""
        country = self.language.country_english
        language = self.language.name_english + (f" ({country})" if country else "")
        return ", ".join(part for part in (language, self.audio.quality) if part)

    @property
    def speakers(self) -> dict[str, int | None]:
        """Numbers by name, in the order of the numbers; one without a number where there is only
        one speaker."""
        if self.num_speakers <= 1:
            return {"default": None}
        named = {number: name for name, number in self.speaker_id_map.items()}
        return {named.get(number, str(number)): number for number in range(self.num_speakers)}

    def voices(self) -> tuple[Voice, ...]:
        """The speakers as voices."""
        language = self.tag or None
        return tuple(Voice(name, language, self.described) for name in self.speakers)


def description_of(network: Path) -> Path:
    """Where the description of a network lies."""
    return network.with_name(network.name + DESCRIPTION)


def voice_names(names: list[str]) -> list[str]:
    """The networks among files of these names that have a description beside them."""
    present = set(names)
    return sorted(
        name for name in present if name.endswith(NETWORK) and name + DESCRIPTION in present
    )


def find_voice(path: Path) -> Path:
    """The network that `path` means: itself, or the only one in that directory. Raises
    `EngineError` with what is wrong with it; blocks."""
    if path.is_dir():
        found = voice_names([file.name for file in path.iterdir()])
        if len(found) != 1:
            what = "more than one voice" if found else f"no {NETWORK} and {NETWORK}{DESCRIPTION}"
            raise EngineError(f"{path} holds {what}")
        return path / found[0]
    if path.suffix != NETWORK:
        raise EngineError(f"{path} is no {NETWORK} file")
    for needed in (path, description_of(path)):
        if not needed.is_file():
            raise EngineError(f"{needed} does not exist")
    return path


def read_voice(network: Path) -> VoiceFile:
    """The description of a network. Raises `EngineError` with what is wrong with it; blocks."""
    path = description_of(network)
    try:
        found = VoiceFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = f"{place}: {first['msg']}" if place else "it is not JSON"
        raise EngineError(f"{path} does not describe a Piper voice ({reason})") from None
    if found.phoneme_type not in ("espeak", "text"):
        raise EngineError(f"{path} asks for phonemes of the kind '{found.phoneme_type}'")
    lacking = [sign for sign in "_^$" if not found.phoneme_id_map.get(sign)]
    if lacking:
        raise EngineError(f"{path} has no phoneme '{lacking[0]}'")
    return found
