"""Sound that is not what the voice said is noticed, however it came about."""

import base64

import numpy as np
import pytest
from eval_checks import always
from eval_client import Loudspeaker
from eval_engines import Integers, Voice
from eval_format import Voice as Speaking
from score import Event

from engines.synthesis import Say

TEXTS = ("One thing.", "Another.")


def made() -> Voice:
    voice = Voice(Speaking())
    for text in TEXTS:
        voice.sound(Say(text))
    return voice


def problems(sound: Integers, status: str = "completed") -> list[str]:
    """What is wrong with this as the sound of an item that says both sentences."""
    delta = base64.b64encode(sound.astype("<i2").tobytes()).decode()
    speaker = Loudspeaker()
    speaker.take({"response_id": "r", "item_id": "i", "delta": delta}, 0.0)
    item: Event = {"id": "i", "status": status, "content": [{"transcript": " ".join(TEXTS)}]}
    done = {"type": "response.output_item.done", "event_id": "e", "response_id": "r", "item": item}
    return [
        problem
        for problem in always([(0.0, done)], speaker, made().said, set())
        if " of i " in problem or problem.startswith("i ")
    ]


FIRST, SECOND = (sound for _, sound in made().said)
GAP = np.zeros(3200, np.int16)


def test_sentences_in_order_are_right() -> None:
    assert problems(np.concatenate((FIRST, GAP, SECOND))) == []


@pytest.mark.parametrize(
    ("pieces", "problem"),
    [
        ((FIRST[100:], GAP, SECOND), "sentence 1 of i is not what the voice said"),
        ((FIRST[:-100], GAP, SECOND), "sentence 1 of i is cut"),
        ((FIRST[:500], FIRST[400:], GAP, SECOND), "sentence 1 of i is not what the voice said"),
        ((FIRST[:500], FIRST[600:], GAP, SECOND), "sentence 1 of i is not what the voice said"),
        ((FIRST, GAP), "i says 'One thing.', and its text is 'One thing. Another.'"),
        ((SECOND, GAP, FIRST), "i says 'Another. One thing.', and its text is "),
        ((FIRST, GAP, SECOND, GAP, SECOND), "i says 'One thing. Another. Another.', and its"),
    ],
)
def test_sound_that_is_lost_repeated_or_mixed_up_is_wrong(
    pieces: tuple[Integers, ...], problem: str
) -> None:
    assert problem in "\n".join(problems(np.concatenate(pieces)))


def test_only_the_end_of_an_interrupted_item_may_be_cut() -> None:
    assert problems(np.concatenate((FIRST, GAP, SECOND[:200])), "incomplete") == []
    assert problems(np.concatenate((FIRST[:200], GAP, SECOND)), "incomplete")
