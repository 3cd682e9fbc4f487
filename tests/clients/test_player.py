"""The loudspeaker of a conversation, played by a stand-in for PortAudio."""

import sys

import numpy as np
import pytest
from sound_devices import PortAudio

from clients.player import Player, output_devices
from clients.wire import ClientError

BLOCK = 480


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> PortAudio:
    portaudio = PortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", portaudio)
    return portaudio


async def test_what_is_given_is_played_in_order_and_counted(portaudio: PortAudio) -> None:
    first, second = b"\x01\x02" * 700, b"\x03\x04" * 100
    async with Player("Headset") as player:
        (stream,) = portaudio.loudspeakers
        assert (stream.settings["device"], stream.settings["samplerate"]) == ("Headset", 24_000)
        assert stream.listen(1) == bytes(2 * BLOCK)
        assert player.position == 0, "silence does not count"
        player.play(first)
        player.play(second)
        assert stream.listen(1) == first[: 2 * BLOCK]
        assert player.position == BLOCK
        assert stream.listen(2) == (first[2 * BLOCK :] + second).ljust(4 * BLOCK, b"\x00")
        assert player.position == 800
    assert stream.closed


async def test_a_flush_silences_it_at_once(portaudio: PortAudio) -> None:
    async with Player() as player:
        (stream,) = portaudio.loudspeakers
        player.play(b"\x01\x02" * 10_000)
        stream.listen(2)
        player.flush()
        assert stream.listen(1) == bytes(2 * BLOCK)
        assert player.position == 2 * BLOCK
        player.play(b"\x05\x06" * BLOCK)
        assert stream.listen(1) == b"\x05\x06" * BLOCK


async def test_a_loudspeaker_with_a_rate_of_its_own_plays_at_that(portaudio: PortAudio) -> None:
    portaudio.only_rate = 48_000
    tone = np.round(8000 * np.sin(2 * np.pi * 440 * np.arange(12_000) / 24_000)).astype("<i2")
    async with Player() as player:
        (stream,) = portaudio.loudspeakers
        assert (stream.settings["samplerate"], stream.blocksize) == (48_000, 960)
        for start in range(0, 12_000, 1_234):
            player.play(tone[start : start + 1_234].tobytes())
        stream.listen(10)
        assert abs(player.position - 4_800) < 60
        stream.listen(20)
        assert player.position == 12_000, "all was played, whatever the resampler holds back"
    heard = np.frombuffer(stream.heard, "<i2").astype(float)
    want = 8000 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 48_000)
    assert np.abs(heard[100:23_000] - want[100:23_000]).max() < 80


async def test_a_flush_forgets_what_was_held_back_for_its_rate(portaudio: PortAudio) -> None:
    portaudio.only_rate = 48_000
    async with Player() as player:
        (stream,) = portaudio.loudspeakers
        player.play(b"\x00\x20" * 4_800)
        stream.listen(2)
        player.flush()
        position = player.position
        assert abs(position - 960) < 60
        player.play(bytes(2 * 480))
        assert stream.listen(2) == bytes(4 * stream.blocksize)
        assert player.position == position + 480


async def test_a_loudspeaker_that_is_unplugged_is_told(portaudio: PortAudio) -> None:
    async with Player() as player:
        portaudio.loudspeakers[0].unplug()
        with pytest.raises(ClientError, match=r"The loudspeaker stopped\. .* --text"):
            _ = player.position


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        (None, r"No loudspeaker can be opened \(It is broken\)\. .* --output, or .*: --text"),
        ("Attic", r"No loudspeaker 'Attic' can be opened"),
    ],
)
@pytest.mark.parametrize("fault", [ValueError, PortAudio.PortAudioError])
async def test_a_loudspeaker_that_cannot_be_opened_is_told(
    portaudio: PortAudio, device: str | None, sentence: str, fault: type[Exception]
) -> None:
    portaudio.fault = fault("It is\nbroken")
    with pytest.raises(ClientError, match=sentence):
        async with Player(device):
            pass


async def test_without_portaudio_the_sentence_says_how_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Missing:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(ClientError, match=r"No PortAudio library found\. .*type instead: --text"):
        async with Player():
            pass


def test_loudspeakers_are_listed(portaudio: PortAudio) -> None:
    assert output_devices() == [(1, "Headset")]
