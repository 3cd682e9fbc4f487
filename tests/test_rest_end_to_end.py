"""The REST API of a running server as its users meet it: the real SDK, and files that hurt."""

import io
import json
import re
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import av
import httpx2
import numpy as np
import openai
import psutil
import pytest
from openai import OpenAI
from programs import NANO, Server
from prometheus_client.parser import text_string_to_metric_families
from voice import RATE, pcm16, recording, say, silence, word_errors, write_wav

pytestmark = pytest.mark.one_loop

FIRST = "The engineer is not happy with the support backlog."
SECOND = "Who is responsible for the new website?"
BOTH = f"{FIRST} {SECOND}"
UPLOAD_LIMIT = 128 << 20
MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    configuration = {**NANO, "limits": {"upload_bytes": UPLOAD_LIMIT}}
    with Server(tmp_path_factory.mktemp("server"), configuration=configuration) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    web = httpx2.Client(trust_env=False)
    with OpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60, http_client=web
    ) as client:
        yield client


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts = [silence(0.5), say(FIRST), silence(1.2), say(SECOND), silence(0.8)]
    return write_wav(tmp_path_factory.mktemp("sound") / "two.wav", np.concatenate(parts))


def lagging(server: Server, seconds: float) -> tuple[float, float]:
    """How often the loop was looked at, and how often it was later than so many seconds."""
    count = late = 0.0
    for family in text_string_to_metric_families(server.get("/metrics")):
        for sample in family.samples:
            if sample.name == "antiphon_loop_lag_seconds_count":
                count = sample.value
            if sample.name == "antiphon_loop_lag_seconds_bucket" and (
                float(sample.labels["le"]) == seconds
            ):
                late = sample.value
    return count, count - late


def memory(server: Server) -> int:
    """Bytes that the server and its children hold."""
    here = psutil.Process(server.process.pid)
    return sum(one.memory_info().rss for one in (here, *here.children(recursive=True)))


def test_the_sdk_lists_the_models_and_finds_each_by_its_id(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert {"nano", "pocketsphinx"} <= set(names)
    for name in ("nano", "pocketsphinx"):
        model = client.models.retrieve(name)
        assert (model.id, model.object) == (name, "model")
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("owner/no-such-model")
    assert caught.value.code == "model_not_found"
    assert "nano" in caught.value.message


@pytest.mark.parametrize("model", ["nano", "whisper-1", "gpt-4o-transcribe"])
def test_the_sdk_transcribes_by_any_name_of_the_default_model(
    model: str, client: OpenAI, two: Path
) -> None:
    with two.open("rb") as file:
        heard = client.audio.transcriptions.create(file=file, model=model)
    assert word_errors(BOTH, heard.text) <= 0.3
    assert heard.usage is not None
    assert heard.usage.type == "duration"
    with wave.open(str(two)) as sound:
        length = sound.getnframes() / sound.getframerate()
    assert heard.usage.seconds == pytest.approx(length, abs=0.02)


def test_the_sdk_gets_text_and_subtitles(client: OpenAI, two: Path) -> None:
    def transcribed(format: Literal["text", "srt", "vtt"]) -> str:
        with two.open("rb") as file:
            heard = client.audio.transcriptions.create(
                file=file, model="whisper-1", response_format=format
            )
        assert isinstance(heard, str)
        return heard

    text = transcribed("text")
    assert word_errors(BOTH, text) <= 0.3
    first, second = transcribed("srt").strip().split("\n\n")
    time_ = r"00:00:\d\d[,.]\d{3}"
    for number, said, cue in ((1, FIRST, first), (2, SECOND, second)):
        head, times, *lines = cue.splitlines()
        assert head == str(number)
        assert re.fullmatch(f"{time_} --> {time_}", times)
        assert word_errors(said, " ".join(lines)) <= 0.3
    head, *cues = transcribed("vtt").strip().split("\n\n")
    assert (head, len(cues)) == ("WEBVTT", 2)
    assert re.match(rf"{time_} --> {time_}\n", cues[0])


def test_the_sdk_gets_words_and_segments_with_their_times(client: OpenAI, two: Path) -> None:
    with two.open("rb") as file:
        heard = client.audio.transcriptions.create(
            file=file,
            model="whisper-1",
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
            language="en",
        )
    assert heard.language == "english"
    assert heard.words is not None
    assert heard.segments is not None
    assert word_errors(BOTH, " ".join(word.word for word in heard.words)) <= 0.3
    times = [time for word in heard.words for time in (word.start, word.end)]
    assert times == sorted(times)
    spoken = 0.5 + len(say(FIRST)) / RATE
    first, second = heard.segments
    assert first.start == pytest.approx(0.5, abs=0.4)
    assert first.end == pytest.approx(spoken, abs=0.6)
    assert second.start == pytest.approx(spoken + 1.2, abs=0.4)
    assert 0 < times[0] < times[-1] <= heard.duration


def test_the_sdk_streams_each_utterance_as_it_is_heard(client: OpenAI, two: Path) -> None:
    with two.open("rb") as file:
        stream = client.audio.transcriptions.create(file=file, model="whisper-1", stream=True)
        events = list(stream)
    done = events[-1]
    assert done.type == "transcript.text.done"
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert len(deltas) == len(events) - 1 == 2
    assert "".join(deltas) == done.text
    assert word_errors(BOTH, done.text) <= 0.3


def test_what_is_built_in_transcribes_people(client: OpenAI, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "jfk.wav", recording("people/jfk.flac"))
    with path.open("rb") as file:
        heard = client.audio.transcriptions.create(file=file, model="pocketsphinx")
    assert len(heard.text.split()) >= 8


def test_what_the_built_in_model_cannot_do_is_refused_with_what_to_install(
    client: OpenAI, two: Path
) -> None:
    with two.open("rb") as file, pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(file=file, model="pocketsphinx", language="fr")
    assert "antiphon pull" in caught.value.message
    assert caught.value.param == "language"
    with two.open("rb") as file:
        url = f"{client.base_url}audio/translations"
        form = {"model": "pocketsphinx"}
        refused = httpx2.post(url, data=form, files={"file": file}, trust_env=False)
    assert refused.status_code == 400
    assert "antiphon pull" in refused.json()["error"]["message"]


def test_a_model_that_is_not_here_is_a_404_that_lists_those_that_are(
    client: OpenAI, two: Path
) -> None:
    with two.open("rb") as file, pytest.raises(openai.NotFoundError) as caught:
        client.audio.transcriptions.create(file=file, model="no-such-model")
    assert caught.value.code == "model_not_found"
    assert "nano" in caught.value.message


TEXT = b"This is no music.\n" * 100


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("song.mp3", TEXT, "could not be read as audio"),
        ("empty.wav", b"", "empty"),
        ("noise.ogg", bytes(range(256)) * 64, "could not be read as audio"),
        ("head.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio"),
    ],
)
def test_a_file_that_is_no_recording_is_a_400_with_a_sentence(
    name: str, content: bytes, says: str, client: OpenAI
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(file=(name, content), model="whisper-1")
    assert says in caught.value.message
    assert caught.value.message.endswith(".")
    assert caught.value.type == "invalid_request_error"


def test_a_truncated_recording_is_a_400_that_says_where_it_breaks_off(
    client: OpenAI, two: Path
) -> None:
    content = two.read_bytes()
    with pytest.raises(openai.BadRequestError, match=r"breaks off after \d\.\d seconds"):
        client.audio.transcriptions.create(
            file=("cut.wav", content[: len(content) // 2]), model="whisper-1"
        )


def test_an_upload_over_the_limit_is_a_413_and_does_not_grow_memory(server: Server) -> None:
    """Without a length that could be refused at once: the body is what shows its size."""
    before = memory(server)

    def body() -> Iterator[bytes]:
        yield (b'--x\r\nContent-Disposition: form-data; name="file"; filename="long.wav"\r\n\r\n')
        for _ in range(2 * UPLOAD_LIMIT // MIB):
            yield bytes(MIB)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    url = f"{server.url}/v1/audio/transcriptions"
    with httpx2.Client(trust_env=False, timeout=60) as web:
        answer = web.post(url, content=body(), headers=headers)
    assert answer.status_code == 413
    assert "128 MiB" in answer.json()["error"]["message"]
    assert memory(server) - before < 64 * MIB


def test_an_upload_that_announces_too_much_is_refused_at_once(client: OpenAI) -> None:
    begun = time.monotonic()
    with pytest.raises(openai.APIStatusError) as caught:
        client.audio.transcriptions.create(
            file=("long.wav", bytes(UPLOAD_LIMIT + 8 * MIB)), model="whisper-1"
        )
    assert caught.value.status_code == 413
    assert caught.value.code == "file_too_large"
    assert "limits.upload_bytes" in caught.value.message
    assert time.monotonic() - begun < 30


def hour(folder: Path) -> Path:
    """An hour of a quiet room as FLAC, with a sentence at 10 minutes and one near the end."""
    path = folder / "hour.flac"
    minute = (silence(60.0) * 32767).astype("<i2")
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono")
        stream.codec_context.format = "s16"
        for number in range(60):
            samples = minute.copy()
            if number in (10, 59):
                spoken = np.frombuffer(pcm16(say(FIRST if number == 10 else SECOND), RATE), "<i2")
                samples[RATE : RATE + len(spoken)] += spoken
            frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


class Peak(threading.Thread):
    """The most memory the server held while the block ran."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._over = threading.Event()
        self.bytes = 0

    def run(self) -> None:
        while not self._over.wait(0.1):
            self.bytes = max(self.bytes, memory(self._server))

    def __enter__(self) -> "Peak":
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        self.join()


def test_an_hour_neither_holds_the_event_loop_nor_fills_the_memory(
    server: Server, client: OpenAI, tmp_path: Path
) -> None:
    path = hour(tmp_path)
    before = memory(server)
    looks, late = lagging(server, 0.2)
    _, held = lagging(server, 1.0)
    with Peak(server) as peak, path.open("rb") as file:
        heard = client.audio.transcriptions.create(
            file=file,
            model="whisper-1",
            response_format="verbose_json",
            timestamp_granularities=["segment"],
        )
    assert heard.duration == pytest.approx(3600, abs=0.1)
    assert word_errors(BOTH, heard.text) <= 0.3
    assert heard.segments is not None
    assert [round(part.start / 60) for part in heard.segments] == [10, 59]
    # The hour itself is 230 MB of samples.
    assert peak.bytes - before < 96 * MIB
    now_looks, now_late = lagging(server, 0.2)
    _, now_held = lagging(server, 1.0)
    assert now_looks - looks > 10, "the loop was not looked at"
    # A machine that is busy with other work is late now and then too.
    assert now_late - late < (now_looks - looks) / 10
    assert now_held - held == 0
    assert json.loads(server.get("/health"))


def test_the_answer_to_every_error_has_the_shape_of_openais(server: Server) -> None:
    with httpx2.Client(base_url=server.url, trust_env=False) as web:
        for method, path, status in (
            ("GET", "/v1/nothing", 404),
            ("GET", "/v1/audio/transcriptions", 405),
            ("POST", "/v1/audio/transcriptions", 400),
        ):
            answer = web.request(method, path)
            assert answer.status_code == status
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
            assert answer.headers["x-request-id"].startswith("req_")


def test_uploads_in_any_container_give_the_same_words(client: OpenAI, two: Path) -> None:
    for format, codec in (("mp3", "libmp3lame"), ("webm", "libopus"), ("mp4", "aac")):
        sound = io.BytesIO()
        with av.open(str(two)) as source, av.open(sound, "w", format=format) as container:
            stream = container.add_stream(codec, rate=48_000, layout="mono")
            assert isinstance(stream, av.AudioStream)
            for frame in source.decode(audio=0):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        heard = client.audio.transcriptions.create(
            file=(f"two.{format}", sound.getvalue()), model="whisper-1"
        )
        assert word_errors(BOTH, heard.text) <= 0.3, format
