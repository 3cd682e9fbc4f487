from rest import TwoModels, serving


async def test_health_says_what_transcribes_and_how_to_get_better() -> None:
    async with serving() as client:
        body = await (await client.get("/health")).json()
    assert body == {
        "status": "ok",
        "version": "9.9.9",
        "transcription": {
            "model": "pocketsphinx-en",
            "built_in": True,
            "hint": "antiphon pull small",
        },
    }


async def test_with_a_better_model_there_is_no_hint() -> None:
    models = TwoModels()
    models.all.reverse()
    models.hint = None
    async with serving(models=models) as client:
        body = await (await client.get("/health")).json()
    assert body["transcription"] == {"model": "org/whisper:tiny", "built_in": False}


async def test_a_server_without_models_is_still_up() -> None:
    models = TwoModels()
    models.all.clear()
    async with serving(models=models) as client:
        response = await client.get("/health")
        assert response.status == 200
        assert (await response.json())["transcription"] is None
