import math
from typing import Any

import pytest

from clients.captions import Captions
from clients.conversation import Conversation
from clients.wire import ClientError, api_key, refused, rest_url

TRANSCRIPTION = "conversation.item.input_audio_transcription"


@pytest.mark.parametrize("key", ["sk-1\n", "sk-1\r\nHost: elsewhere", "schlüssel", "a\tb"])
@pytest.mark.parametrize("variable", [None, "ANTIPHON_API_KEY", "OPENAI_API_KEY"])
def test_a_key_that_no_header_can_hold_is_told(
    monkeypatch: pytest.MonkeyPatch, key: str, variable: str | None
) -> None:
    monkeypatch.delenv("ANTIPHON_API_KEY", raising=False)
    if variable:
        monkeypatch.setenv(variable, key)
    with pytest.raises(ClientError, match="API key may only hold"):
        api_key(None if variable else key)


@pytest.mark.parametrize("host", ["a..b", "." * 3, f"{'a' * 64}.example", "[::1", ""])
def test_an_address_that_has_no_host_is_told(host: str) -> None:
    with pytest.raises(ClientError, match="is not a server's address"):
        rest_url(f"http://{host}:8800", "models")


@pytest.mark.parametrize("host", ["127.0.0.1", "[fe80::1%25eth0]", "my_host", "host.", "bücher.de"])
def test_an_address_that_has_one_is_taken(host: str) -> None:
    assert rest_url(f"http://{host}:8800/v1/", "models") == f"http://{host}:8800/v1/models"


EVENTS = [
    "error",
    *("input_audio_buffer.speech_started", "input_audio_buffer.committed"),
    *(f"{TRANSCRIPTION}.{kind}" for kind in ("delta", "completed", "failed")),
    "antiphon.transcription.tentative",
    *("response.created", "response.output_item.done", "response.output_audio.delta"),
    *("response.output_text.delta", "response.done"),
]
STRANGE = [None, 1, math.nan, "no", [], [1], {}, {"message": [], "code": {}, "id": 3}]


@pytest.mark.parametrize("kind", EVENTS)
@pytest.mark.parametrize("strange", STRANGE, ids=str)
def test_an_event_of_a_server_of_another_mind_ends_nothing(kind: str, strange: Any) -> None:
    told = {"type": kind, "response": {"id": "r", "status": "failed", "status_details": strange}}
    for name in ("item_id", "audio_start_ms", "error", "response", "item", "delta", "transcript"):
        for event in ({**told, name: strange}, {**told, "item_id": "a", name: strange}):
            Captions().take(event)
            Conversation().take(event)
            assert isinstance(refused(event), ClientError)
