import pytest

from engines.base import EngineError
from engines.endpoints import Endpoint


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://far.example/v1", "https://far.example/v1/embeddings"),
        ("https://far.example/v1/", "https://far.example/v1/embeddings"),
        ("http://[::1]:8080", "http://[::1]:8080/embeddings"),
        ("https://far.example/v1?version=2#x", "https://far.example/v1/embeddings?version=2"),
    ],
)
def test_paths_go_behind_the_base_and_before_its_query(base: str, url: str) -> None:
    assert Endpoint("far", base).url("/embeddings") == url


@pytest.mark.parametrize(
    "base",
    ["", "far.example/v1", "ftp://far.example", "https://", "http://far:port/", "http://far:0/"],
)
def test_what_is_not_an_address_is_refused(base: str) -> None:
    with pytest.raises(EngineError, match="not an http"):
        Endpoint("far", base)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(EngineError, match="use api_key") as raised:
        Endpoint("far", "https://me:secret@far.example/v1")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("key", ["sk-secret\n", "sk secret", "sk-sécret"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(EngineError) as raised:
        Endpoint("far", "https://far.example/v1", key)
    assert "sk" not in str(raised.value)


def test_only_openais_own_models_get_the_new_name_of_the_token_limit() -> None:
    limits = {
        base: Endpoint("far", base).token_limit
        for base in ("https://api.openai.com/v1", "https://a.openai.azure.com/v1", "http://x/v1")
    }
    assert list(limits.values()) == ["max_completion_tokens"] * 2 + ["max_tokens"]


def test_the_key_is_not_shown_and_is_struck_out_of_texts() -> None:
    endpoint = Endpoint("far", "https://far.example/v1", "sk-1234567890abcdef")
    assert "sk-" not in repr(endpoint)
    assert endpoint.redacted("You sent sk-1234567890abcdef.") == "You sent ***."


def test_a_placeholder_for_a_key_is_a_word_like_others() -> None:
    assert Endpoint("far", "http://x/v1", "ollama").redacted("ask ollama") == "ask ollama"


def test_who_is_openai_is_told_by_the_host() -> None:
    bases = ("https://eu.api.openai.com/v1", "https://api.openai.com.evil.example/v1")
    assert [Endpoint("far", base).is_openai for base in bases] == [True, False]
