"""Mistakes in scripted conversations are told with the file and the line."""

import pytest
from eval_format import read_script

from engines.strict_yaml import ConfigError

GOOD = """\
name: A question is answered
turns:
  - user: {says: "What time is it?", seconds: 1.2}
    model: {text: "Ten."}
    expect:
      - {event: response.done, status: completed}
"""


def test_single_entries_are_lists_of_one() -> None:
    (turn,) = read_script(GOOD).eval.turns
    assert [sound.says for sound in turn.user] == ["What time is it?"]
    assert [answer.text for answer in turn.model] == ["Ten."]
    assert read_script(GOOD).place(0, "expect", 0) == "eval.yaml:6"


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ("says:", "sayz:", "eval.yaml:3: unknown key 'sayz' in 'turns[0].user[0]'; did you mean"),
        ("status:", "state:", "eval.yaml:6: unknown key 'state' in 'turns[0].expect[0]'"),
        ("text:", "txt:", "eval.yaml:4: unknown key 'txt' in 'turns[0].model[0]'"),
        ("turns:", "turn:", "eval.yaml:2: unknown key 'turn'; did you mean 'turns'?"),
        (", seconds: 1.2", "", "eval.yaml:3: 'turns[0].user[0]' needs 'seconds' with 'says'"),
        ("says:", "noise: 1, says:", "eval.yaml:3: 'turns[0].user[0]' needs one of 'says', "),
        ("event:", "absent: x, event:", "eval.yaml:6: 'turns[0].expect[0]' needs one of event,"),
        (
            "status: completed",
            "for_ms: 5",
            "eval.yaml:6: 'turns[0].expect[0]' has 'for_ms', which means nothing with 'event'",
        ),
        (
            "event: response.done, status: completed",
            "requests: 1, within_ms: 5",
            "has 'within_ms', which means nothing with 'requests'",
        ),
        ('"Ten."', '"Ten.", stalls: [{after: x, ms: 1}]', "stalls after 'x', which is not in"),
        ("seconds: 1.2", "seconds: -1", "eval.yaml:3: "),
    ],
)
def test_a_mistake_is_told_with_its_line(good: str, bad: str, message: str) -> None:
    with pytest.raises(ConfigError) as told:
        read_script(GOOD.replace(good, bad, 1))
    assert message in str(told.value)
