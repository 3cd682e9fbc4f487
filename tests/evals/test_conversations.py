"""The conversations that are written as YAML, one test for each file."""

from pathlib import Path

import pytest
from eval_format import Script, load_script
from eval_talk import Talk

pytestmark = pytest.mark.virtual_time

SCRIPTS = {path.stem: load_script(path) for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def test_there_are_many_conversations_and_each_has_a_name_of_its_own() -> None:
    names = [script.eval.name for script in SCRIPTS.values()]
    assert len(names) >= 25
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_the_conversation_goes_as_expected(script: Script) -> None:
    problems = await Talk(script).hold()
    assert not problems, "\n".join([script.eval.name, *problems])
