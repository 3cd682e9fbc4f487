import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES

from routes.languages import NAMES, code_of, name_of


def test_every_language_of_whisper_has_a_name() -> None:
    assert set(NAMES) == set(_LANGUAGE_CODES)
    assert len(set(NAMES.values())) == len(NAMES)


def test_an_unknown_code_is_its_own_name() -> None:
    assert name_of("en") == "english"
    assert name_of("tlh") == "tlh"


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        (" en-US ", "en"),
        ("pt_BR", "pt"),
        ("French", "fr"),
        ("haitian creole", "ht"),
        ("tlh", "tlh"),
    ],
)
def test_a_language_is_understood_however_it_is_written(written: str, code: str) -> None:
    assert code_of(written) == code
