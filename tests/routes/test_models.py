import pytest
from openai import NotFoundError
from rest import openai, serving


async def test_the_sdk_lists_models() -> None:
    async with serving() as client, openai(client) as sdk:
        models = [model async for model in sdk.models.list()]
    assert [model.id for model in models] == ["pocketsphinx-en", "org/whisper:tiny"]
    assert {model.object for model in models} == {"model"}
    assert models[0].owned_by == "antiphon"


async def test_the_sdk_retrieves_a_model_whose_name_has_a_slash() -> None:
    async with serving() as client, openai(client) as sdk:
        model = await sdk.models.retrieve("org/whisper:tiny")
        plain = await client.get("/v1/models/org/whisper:tiny")
        assert (await plain.json())["id"] == "org/whisper:tiny"
    assert model.id == "org/whisper:tiny"
    assert model.created == 2


async def test_a_model_says_what_it_is() -> None:
    async with serving() as client:
        model = await (await client.get("/v1/models/org%2Fwhisper%3Atiny")).json()
    assert model["antiphon"] == {
        "kind": "transcription",
        "engine": "whisper",
        "languages": ["de", "en", "fr"],
        "state": "installed",
        "memory_bytes": None,
    }


async def test_a_model_is_loaded_and_freed_on_request() -> None:
    async with serving() as client:
        loaded = await (await client.post("/v1/models/org/whisper:tiny/load")).json()
        freed = await (await client.post("/v1/models/org%2Fwhisper%3Atiny/unload")).json()
        unknown = await client.post("/v1/models/gpt-9/load")
    assert (loaded["id"], loaded["antiphon"]["state"]) == ("org/whisper:tiny", "loaded")
    assert freed["antiphon"]["state"] == "installed"
    assert unknown.status == 404


async def test_an_alias_shows_the_model_it_stands_for() -> None:
    async with serving() as client, openai(client) as sdk:
        assert (await sdk.models.retrieve("whisper-1")).id == "pocketsphinx-en"


async def test_an_unknown_model_is_404_and_lists_what_is_here() -> None:
    async with serving() as client, openai(client) as sdk:
        with pytest.raises(NotFoundError) as raised:
            await sdk.models.retrieve("gpt-9")
    assert raised.value.code == "model_not_found"
    assert "pocketsphinx-en, org/whisper:tiny" in str(raised.value)
