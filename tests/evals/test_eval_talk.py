"""What is wrong with a conversation is noticed, whatever it is."""

import pytest
from eval_format import read_script
from eval_talk import Talk

pytestmark = pytest.mark.virtual_time

GOOD = """\
name: Two questions are answered
turns:
  - user: {says: "What time is it?", seconds: 1.2}
    model: {text: "It is ten.", told: ["user: What time is it?"]}
    expect:
      - {event: response.done, status: completed, within_ms: 2000, not_before_ms: 500}
      - {absent: error}
      - {requests: 1}
      - {sound: {seconds: [0.6, 0.7], gap_ms: 0}}
  - after: {event: response.done, delay_ms: 1000}
    user: {says: "And in New York?", seconds: 1.1}
    model: {text: "Four."}
    expect:
      - {event: response.done, status: completed}
      - {heard: {text: "It is ten."}}
"""


async def problems(good: str = "", bad: str = "") -> list[str]:
    assert good in GOOD
    return await Talk(read_script(GOOD.replace(good, bad, 1))).hold()


async def test_nothing_is_wrong_with_a_conversation_that_goes_as_expected() -> None:
    assert await problems() == []


@pytest.mark.parametrize(
    ("good", "bad", "problem"),
    [
        ("status: completed, within", "status: failed, within", "'failed' never came; there came:"),
        ("within_ms: 2000", "within_ms: 1000", "eval.yaml:6: 'response.done' status 'completed' "),
        ("not_before_ms: 500", "not_before_ms: 2000", ", before 2000"),
        (
            "      - {event: response.done, status: completed, within",
            "      - {absent: response.created}\n      - {event: response.done, within",
            "eval.yaml:6: 'response.created' came, ",
        ),
        ("absent: error", "absent: response.created, for_ms: 4000", "'response.created' came, "),
        ("{requests: 1}", "{requests: 2}", "eval.yaml:8: the language model was asked 1 times"),
        ("[0.6, 0.7]", "[0.7, 0.8]", "eval.yaml:9: the sound takes 0.67 s, not 0.7 to 0.8"),
        ("gap_ms: 0}", "held_ms: 10}", "the sound was held for 0 ms only"),
        ("gap_ms: 0}", "ahead_ms: 20}", "ms of sound in hand"),
        ('What time is it?"]', 'What?"]', "eval.yaml:4: the language model was told ['user: "),
        ('model: {text: "Four."}', "model: []", "the script has no answer to what was asked"),
        ('{text: "Four."}', "[{text: a}, {text: b}]", "was never asked for this"),
        ('{text: "Four."}', "{text: a, given_up: true}", "the answer was not given up"),
        ('heard: {text: "It is ten."}', 'heard: {text: "It is"}', "what was heard is 'It is ten.'"),
        ("name:", "session: {output_modalities: [smell]}\nname:", "settings were refused; there"),
        ("event: response.done, delay", "event: no.such, delay", ":10: the turn never began; "),
        (
            '    model: {text: "Four."}',
            '    client: {type: nonsense}\n    model: {text: "Four."}',
            "an error came after ",
        ),
        (
            '    model: {text: "Four."}',
            '    client: {type: response.cancel, response_id: $it}\n    model: {text: "Four."}',
            "nothing was kept as 'it', which response.cancel names",
        ),
    ],
)
async def test_what_is_not_as_expected_is_told(good: str, bad: str, problem: str) -> None:
    assert problem in "\n".join(await problems(good, bad))
