"""An answer that espeak speaks, through all the nodes that answer."""

import asyncio
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from answer_nodes import STOP, TOKENS, Writer, respond, stage, texts

from engines.catalogue import Catalogue
from engines.devices import Device
from engines.models import ModelStore
from engines.scheduler import Scheduler
from engines.voices import Voices
from pipelines.frames import Answered, AudioOut, Interrupt
from pipelines.nodes.play import Player
from pipelines.nodes.play import Settings as PlaySettings
from pipelines.nodes.respond import Responder
from pipelines.nodes.respond import Settings as RespondSettings
from pipelines.nodes.speak import Settings, Speaker

TEXT = "**Yes**, that costs $3.50. Shall I order it?"


@pytest.mark.one_loop
async def test_espeak_says_an_answer_whose_marks_reach_the_end(tmp_path: Path) -> None:
    scheduler = Scheduler(Device(2))

    def build() -> tuple[ModelStore, Voices]:
        store = ModelStore(Catalogue(tmp_path, ()), scheduler)
        return store, Voices(store)

    store, voices = await asyncio.to_thread(build)
    nodes = (
        partial(Responder, "respond", RespondSettings()),
        partial(Speaker, "speak", Settings(voice="en-us")),
        partial(Player, "play", PlaySettings()),
    )
    writer = Writer({"scripted": [*texts(*TEXT), STOP]})
    try:
        async with stage(*nodes, writers=writer, speakers=voices) as talk:
            done = asyncio.Event()
            talk.on_frame = lambda frame: done.set() if isinstance(frame, Answered) else None
            talk.graph.push(respond(spoken=True))
            await asyncio.wait_for(done.wait(), 20)
            assert talk.frames[-1] == Answered("r", "stop", TOKENS)
            sound = np.concatenate([frame.samples for frame in talk.of(AudioOut)])
            assert 1.5 < talk.seconds() < 6.0
            assert 0.02 < np.sqrt(np.mean(sound**2)) < 0.5
            marks = [mark for frame in talk.of(AudioOut) for mark in frame.marks]
            assert marks[-1].characters == len(TEXT)
            assert marks[-1].seconds == pytest.approx(talk.seconds(), abs=0.01)
            assert [m.characters for m in marks] == sorted(m.characters for m in marks)
            assert len(marks) > 6
            assert talk.state == "speaking"
            talk.graph.push(Interrupt("r"))
            assert talk.state == "idle"
            assert 0 <= (talk.context.floor.heard("item 0") or 0.0) < 1.0
    finally:
        await store.close()
        await scheduler.close()
