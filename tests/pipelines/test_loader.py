"""Pipeline files: what they build, and one line with file, line and nearest name when wrong."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from engines.base import ModelNotFound
from engines.recognition import Recogniser
from engines.strict_yaml import ConfigError, read
from engines.tickets import Ticket
from pipelines.context import Context
from pipelines.frames import (
    Answered,
    Audio,
    Clear,
    Commit,
    End,
    Error,
    Frame,
    Hold,
    IdleTimeout,
    Pause,
    SpeechStarted,
    SpeechStopped,
    Text,
    ToolCall,
    Transcript,
)
from pipelines.loader import ASSISTANT, CAPTIONS, NodePlan, Plan, load_plan, plan_of
from pipelines.nodes import play, respond, speak, transcribe, vad


def plan(text: str) -> Plan:
    return plan_of(read(text, "test.yaml"))


def shape(wanted: Plan) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(node.name, node.use, node.sources) for node in wanted.nodes]


class NoModels:
    async def recogniser(self, name: str) -> Recogniser:
        raise ModelNotFound(name)


def context(delivered: list[Frame]) -> Context:
    def no_voice_activity(owner: str) -> Ticket:
        raise AssertionError("nobody speaks")

    return Context(
        owner="a",
        models=NoModels(),
        open_voice_activity=no_voice_activity,
        new_item=lambda: "item",
        deliver=delivered.append,
        ready_seconds=2.5,
    )


def test_the_shipped_captions_are_voice_activity_then_text() -> None:
    captions = load_plan(CAPTIONS)
    assert captions.name == "captions"
    assert captions.description
    assert shape(captions) == [
        ("vad", "vad", ("input",)),
        ("transcribe", "transcribe", ("vad",)),
        ("client", "sink", ("transcribe",)),
    ]


def test_roles_expand_to_the_nodes_of_the_captions() -> None:
    roles = plan("vad: silero\nstt: base\n")
    assert shape(roles) == shape(load_plan(CAPTIONS))
    assert roles.name == "test"
    assert roles.nodes[1].settings == transcribe.Settings(model="base")


def test_the_shipped_assistant_answers_what_it_understood_and_says_the_answer() -> None:
    assistant = load_plan(ASSISTANT)
    assert assistant.name == "assistant"
    assert assistant.description
    assert shape(assistant) == [
        ("vad", "vad", ("input",)),
        ("transcribe", "transcribe", ("vad",)),
        ("respond", "respond", ("transcribe",)),
        ("speak", "speak", ("respond",)),
        ("play", "play", ("speak",)),
        ("client", "sink", ("play",)),
    ]


def test_roles_expand_to_the_nodes_of_the_assistant() -> None:
    roles = plan("tts: amy\nllm: qwen\nstt: base\nvad: silero\n")
    assert shape(roles) == shape(load_plan(ASSISTANT))
    by_name = {node.name: node.settings for node in roles.nodes}
    assert by_name["respond"] == respond.Settings(model="qwen")
    assert by_name["speak"] == speak.Settings(voice="amy")
    assert by_name["play"] == play.Settings()


def test_a_roles_settings_go_to_the_nodes_that_have_them() -> None:
    roles = plan("vad: silero\nstt: base\nllm: qwen\ntts:\n  lead: 0.2\n  voice: amy\n")
    by_name = {node.name: node.settings for node in roles.nodes}
    assert by_name["speak"] == speak.Settings(voice="amy")
    assert by_name["play"] == play.Settings(lead=0.2)


@pytest.fixture
def assistant() -> Plan:
    return load_plan(ASSISTANT)


async def test_every_frame_of_an_answer_reaches_the_assistants_sink(assistant: Plan) -> None:
    delivered: list[Frame] = []
    graph = assistant.build(context(delivered))
    frames = [
        *(Text("r", "a", "Hi."), ToolCall("r", "b", "1", "f"), Answered("r")),
        *(Hold(0), Hold(1, over=True), SpeechStarted("u", 0), SpeechStopped("u", 9)),
        *(Transcript("u", "hi", "final"), Pause("u", 5), IdleTimeout("u", 0, 9)),
        *(Commit("u"), Clear("u")),
        *(Error("x", "y"), End()),
    ]
    for frame in frames:
        graph.nodes["respond"].emit(frame)
    for frame in frames[3:]:
        graph.nodes["transcribe"].emit(frame)
    assert delivered == [*frames, *frames[3:]]


def test_roles_take_settings_in_any_order() -> None:
    roles = plan("stt:\n  language: de\n  prompt: Antiphon\nvad:\n  silence: 1.5\n")
    by_name = {node.name: node.settings for node in roles.nodes}
    assert by_name["vad"] == vad.Settings.model_validate({"silence": 1.5})
    assert by_name["transcribe"] == transcribe.Settings(language="de", prompt="Antiphon")
    assert [node.name for node in roles.nodes] == ["vad", "transcribe", "client"]


def test_a_list_in_from_joins_branches() -> None:
    joined = plan(
        """
        nodes:
          ears: {use: vad, silence: 0.7}
          english: {use: transcribe, from: ears, language: en}
          german: {use: transcribe, from: ears, language: de}
          out: {use: sink, from: [english, german]}
        """
    )
    assert joined.nodes[3] == NodePlan(
        "out", "sink", ("english", "german"), joined.nodes[3].settings
    )
    assert joined.nodes[1].settings == transcribe.Settings(language="en")


def test_a_node_may_come_before_what_it_hears() -> None:
    text = "nodes:\n  out: {use: sink, from: ears}\n  ears: {use: vad, from: input}\n"
    assert [node.sources for node in plan(text).nodes] == [("ears",), ("input",)]


@pytest.fixture
def captions() -> Plan:
    return load_plan(CAPTIONS)


async def test_each_graph_is_its_own_and_carries_frames_to_the_sink(captions: Plan) -> None:
    delivered: list[Frame] = []
    one, two = captions.build(context(delivered)), captions.build(context([]))
    assert set(one.nodes) == {"vad", "transcribe", "client"}
    assert one.nodes["vad"] is not two.nodes["vad"]
    one.nodes["transcribe"].receive(End())
    assert delivered == [End()]
    one.push(Audio(np.zeros(16_000, np.float32), 0))
    one.push(Commit())
    assert (one.backlog, two.backlog) == (16_000, 0)


async def test_the_context_says_how_much_a_graph_holds_before_it_is_ready(captions: Plan) -> None:
    graph = captions.build(context([]))
    graph.push(Audio(np.zeros(40_000, np.float32), 0))
    await graph.ready()
    graph.push(Audio(np.zeros(1, np.float32), 40_000))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(graph.ready(), 0.05)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^gone\.yaml: cannot be read"):
        load_plan(tmp_path / "gone.yaml")


def test_variables_are_looked_up(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("vad: silero\nstt: ${MODEL}\n")
    assert load_plan(path, {"MODEL": "tiny"}).nodes[1].settings == transcribe.Settings(model="tiny")


EARS = "nodes:\n  ears: {use: vad}\n"

MISTAKES = {
    "no nodes": ("name: x\n", 1, "a pipeline needs `nodes:`"),
    "nodes are a list": ("name: x\nnodes:\n  - vad\n", 2, "a pipeline needs `nodes:`"),
    "unknown key": ("name: x\nnoods: {}\n", 2, "unknown key 'noods'; did you mean 'nodes'?"),
    "roles and nodes": (EARS + "stt: base\n", 3, "either `nodes:` or roles, not both ('stt')"),
    "a role that is a list": ("vad: silero\nstt: [a]\n", 2, "'stt' is a name or a mapping"),
    "a voice activity unknown": ("vad: gold\n", 1, "'vad' is a name or a mapping"),
    "a role's setting unknown": (
        "stt: base\nvad:\n  silense: 2\n",
        3,
        "unknown key 'silense' in 'nodes.vad'; did you mean 'silence'?",
    ),
    "a language model that is a list": ("llm: [a]\n", 1, "'llm' is a name or a mapping"),
    "a setting that no node of a role has": (
        "vad: silero\nstt: base\nllm: qwen\ntts:\n  lead: 1\n  voise: amy\n",
        6,
        "unknown key 'voise' in 'nodes.speak'; did you mean 'voice'?",
    ),
    "an answer to what nobody understood": (
        "vad: silero\nllm: qwen\n",
        2,
        "the node 'respond' (respond) cannot use anything that 'vad' (vad) sends",
    ),
    "no use": ("nodes:\n  a: {from: input}\n", 2, "the node 'a' needs `use:` with a node type"),
    "a node that is text": ("nodes:\n  a: vad\n", 2, "the node 'a' needs `use:`"),
    "unknown type": (
        "nodes:\n  a:\n    use: transcribr\n",
        3,
        "unknown node type 'transcribr'; did you mean 'transcribe'?",
    ),
    "unknown from": (
        EARS + "  words:\n    use: transcribe\n    from: eers\n",
        5,
        "unknown node 'eers'; did you mean 'ears'?",
    ),
    "unknown from in a list": (
        EARS + "  out:\n    use: sink\n    from: [ears, inputt]\n",
        5,
        "unknown node 'inputt'; did you mean 'input'?",
    ),
    "from a number": (EARS + "  out: {use: sink, from: 3}\n", 3, "'from'"),
    "from a list of lists": (EARS + "  out: {use: sink, from: [[ears]]}\n", 3, "'from' of"),
    "from a mapping": (EARS + "  out: {use: sink, from: {ears: 1}}\n", 3, "'from'"),
    "from the same node twice": (
        EARS + "  out: {use: sink, from: [ears, ears]}\n",
        3,
        "the node 'out' names 'ears' twice",
    ),
    "from nothing": (EARS + "  out: {use: sink, from: []}\n", 3, "'out' hears nothing"),
    "a node called input": ("nodes:\n  input: {use: vad}\n", 2, "'input' is taken"),
    "a circle": (
        "nodes:\n  a: {use: transcribe, from: b}\n  b: {use: transcribe, from: a}\n"
        "  c: {use: sink, from: input}\n",
        2,
        "these nodes form a circle: a → b",
    ),
    "itself": ("nodes:\n  a: {use: transcribe, from: [input, a]}\n", 2, "form a circle: a"),
    "text into ears": (
        EARS + "  words: {use: transcribe}\n  more: {use: vad}\n  out: {use: sink}\n",
        4,
        "the node 'more' (vad) cannot use anything that 'words' (transcribe) sends",
    ),
    "after a sink": (
        EARS + "  out: {use: sink}\n  words: {use: transcribe}\n  end: {use: sink}\n",
        4,
        "the node 'words' (transcribe) cannot use anything that 'out' (sink) sends",
    ),
    "unheard": (
        EARS + "  words: {use: transcribe}\n  out: {use: sink, from: ears}\n",
        3,
        "nothing hears the node 'words'",
    ),
    "text straight from the input": ("stt: base\n", 1, "'transcribe'"),
    "a setting out of range": (
        "nodes:\n  ears:\n    use: vad\n    threshold: 7\n  out: {use: sink}\n",
        4,
        "'nodes.ears.threshold' should be less than or equal to 1",
    ),
    "a setting unknown": (
        "nodes:\n  ears:\n    use: vad\n    threshhold: 0.5\n  out: {use: sink}\n",
        4,
        "unknown key 'threshhold' in 'nodes.ears'; did you mean 'threshold'?",
    ),
    "a sink with settings": (EARS + "  out:\n    use: sink\n    loud: true\n", 5, "unknown key"),
    "a key twice": ("name: x\nname: y\n", 2, "already used at line 1"),
}


@pytest.mark.parametrize(("text", "line", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_with_its_place(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        plan(text)
    told = str(mistake.value)
    assert told.startswith(f"test.yaml:{line}: ")
    assert message in told
    assert "\n" not in told
