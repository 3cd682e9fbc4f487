"""Calls of tools in the text of an answer, as each family of models writes them."""

import json

import pytest
from answer_parts import Part, parts
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.chat_families import Family
from engines.generation import Chat, TextDelta, Tool, ToolCallDelta, ToolChoice

TOOLS = (Tool("get_weather"), Tool("get"), Tool("play-music"))
CHAT = Chat(({"role": "user", "content": "hello"},), TOOLS)

HERMES, LLAMA, MISTRAL = Family("hermes"), Family("llama3"), Family("mistral")

ARGUMENTS = '{"city": "Paris \\"} \\u00e9 </tool_call>", "days": [1, {"a": {}}]}'
ONE = f'{{"name": "get_weather", "arguments": {ARGUMENTS}}}'

ANSWERS: list[tuple[Family, str, list[Part]]] = [
    (HERMES, "", []),
    (HERMES, "Hello, <tool> world <", ["Hello, <tool> world <"]),
    (HERMES, "a <tool_call", ["a <tool_call"]),
    (HERMES, f"<tool_call>\n{ONE}\n</tool_call>", [("get_weather", ARGUMENTS)]),
    (
        HERMES,
        f"Let me see. \n<tool_call>{ONE}</tool_call>\n\n<tool_call>\n"
        '{"arguments": {}, "name": "get"}</tool_call> \n',
        ["Let me see.", ("get_weather", ARGUMENTS), ("get", "{}")],
    ),
    (
        HERMES,
        f"<tool_call>{ONE}</tool_call> That is all. ",
        [("get_weather", ARGUMENTS), "That is all. "],
    ),
    (HERMES, '<tool_call>{"name": "get"}</tool_call>', [("get", "{}")]),
    (HERMES, '<tool_call>{"name": "get", "arguments": null}</tool_call>', [("get", "{}")]),
    (
        HERMES,
        '<tool_call>{"name": "get", "arguments": "{\\"a\\": \\"\\\\u00e9 \\ud83d\\ude00\\"}"}',
        [("get", '{"a": "\\u00e9 \U0001f600"}')],
    ),
    (HERMES, '<tool_call>{"name": "get", "parameters": {"a": 1}}', [("get", '{"a": 1}')]),
    (
        HERMES,
        '<tool_call>{"arguments": {"a": 1}, "type": "function", "name": "get"}</tool_c',
        [("get", '{"a": 1}')],
    ),
    (HERMES, '<tool_call>{"name": "get", "arguments": {"a": "cut', [("get", '{"a": "cut')]),
    (
        HERMES,
        '<tool_call>{"name": "get", "arguments": {"a": {"b": 1}</tool_call>',
        [("get", '{"a": {"b": 1}'), "</tool_call>"],
    ),
    (
        HERMES,
        '<tool_call>{"name": "get", "arguments": {}} <tool_call>{"name": "get"}',
        [("get", "{}"), ("get", "{}")],
    ),
    (LLAMA, f" \n{ONE} ", [("get_weather", ARGUMENTS)]),
    (LLAMA, '<|python_tag|>{"name": "get", "parameters": {"a": 1}}', [("get", '{"a": 1}')]),
    (
        LLAMA,
        '{"type": "function", "name": "get", "parameters": {}}; \n{"name": "play-music"}',
        [("get", "{}"), ("play-music", "{}")],
    ),
    (LLAMA, '{"name": "get", "parameters": {}} Fine?', [("get", "{}"), "Fine?"]),
    (MISTRAL, f"[TOOL_CALLS][{ONE}]", [("get_weather", ARGUMENTS)]),
    (
        MISTRAL,
        'Well. [TOOL_CALLS] [{"name": "get", "arguments": {"a": [1]}}, {"name": "get"} ]\n',
        ["Well.", ("get", '{"a": [1]}'), ("get", "{}")],
    ),
    (
        MISTRAL,
        '[TOOL_CALLS]get_weather[ARGS]{"a": 1}get[ARGS] {"b": 2}[TOOL_CALLS]get[CALL_ID]a1[ARGS]{}',
        [("get_weather", '{"a": 1}'), ("get", '{"b": 2}'), ("get", "{}")],
    ),
    (MISTRAL, '[TOOL_CALLS]play-music{"b": 2}', [("play-music", '{"b": 2}')]),
    (
        MISTRAL,
        '[TOOL_CALLS]get[ARGS]{"b": "[TOOL_CALLS]"} done',
        [("get", '{"b": "[TOOL_CALLS]"}'), "done"],
    ),
]

BROKEN: list[tuple[Family, str]] = [
    (HERMES, "a  <tool_call>no</tool_call>"),
    (HERMES, "<tool_call>"),
    (HERMES, "x\n<tool_call>\n{"),
    (HERMES, '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>'),
    (HERMES, '<tool_call>{"arguments": {}}</tool_call>'),
    (HERMES, '<tool_call>{"arguments": {"a": 1}'),
    (HERMES, '<tool_call>{"name": "get", oops}</tool_call>'),
    (HERMES, '<tool_call>{"name": "get", "arguments": [1]}</tool_call>'),
    (HERMES, '<tool_call>{"name": "get", "arguments": "Paris"}</tool_call>'),
    (HERMES, '<tool_call>{"name": "get\\x", "arguments": {}}'),
    (HERMES, '<tool_call>{"name": 3}</tool_call>'),
    (HERMES, "<tool_call>{}</tool_call>"),
    (HERMES, '<tool_call>{"title": "get"}</tool_call>'),
    (LLAMA, '{"title": "get", "parameters": {}}'),
    (LLAMA, '{"name": "Ada", "parameters": {}}'),
    (LLAMA, '<|python_tag|>print("hello")'),
    (LLAMA, " <|python_tag"),
    (LLAMA, 'The call is {"name": "get", "parameters": {}}'),
    (LLAMA, "  "),
    (LLAMA, "[1, 2]"),
    (MISTRAL, "[TOOL_CALLS]"),
    (MISTRAL, "a [TOOL_CALLS][1]"),
    (MISTRAL, '[TOOL_CALLS]unknown[ARGS]{"a": 1}'),
    (MISTRAL, "[TOOL_CALLS]get_wea"),
    (MISTRAL, '[TOOL_CALLS][{"name": "unknown", "arguments": {}}]'),
]


@pytest.mark.parametrize(("family", "text", "expected"), ANSWERS)
def test_calls_are_found_however_the_answer_is_split(
    family: Family, text: str, expected: list[Part]
) -> None:
    assert parts(family, text, CHAT) == expected


@pytest.mark.parametrize(("family", "text"), BROKEN)
def test_a_broken_call_is_text_of_which_nothing_is_lost(family: Family, text: str) -> None:
    assert parts(family, text, CHAT) == [text]


def test_what_follows_a_broken_call_is_still_read() -> None:
    text = f"<tool_call>no <tool_call>{ONE}</tool_call>"
    assert parts(HERMES, text, CHAT) == ["<tool_call>no", ("get_weather", ARGUMENTS)]
    text = '[TOOL_CALLS][{"name": "get"}, {"name": "unknown"}]'
    assert parts(MISTRAL, text, CHAT) == [("get", "{}"), ', {"name": "unknown"}]']


def test_without_tools_a_call_is_text() -> None:
    text = f"<tool_call>{ONE}</tool_call>"
    for chat in (Chat(()), Chat((), TOOLS, ToolChoice("none"))):
        for family in (HERMES, LLAMA, MISTRAL):
            assert parts(family, text, chat) == [text]


def test_arguments_come_while_they_are_written() -> None:
    parser = HERMES.parser(CHAT, thinking=False)
    parser.feed('<tool_call>{"name": "get", "arguments": ')
    [start, first] = parser.feed('{"a": ')
    assert isinstance(start, ToolCallDelta)
    assert (start.name, start.arguments) == ("get", "")
    assert parser.called
    assert first == ToolCallDelta(0, '{"a": ')
    assert parser.feed("12") == [ToolCallDelta(0, "12")]
    assert parser.feed("}}") == [ToolCallDelta(0, "}")]


def test_text_is_held_back_only_while_it_could_be_a_tag() -> None:
    parser = HERMES.parser(CHAT, thinking=False)
    assert parser.feed("one <tool") == [TextDelta("one")]
    assert parser.feed("s") == [TextDelta(" <tools")]
    parser = LLAMA.parser(CHAT, thinking=False)
    assert parser.feed("<|py") == []
    assert parser.feed("thon|>") == [TextDelta("<|python|>")]


def test_calls_have_ids_of_the_kind_that_the_family_takes() -> None:
    for family, text, length in (
        (HERMES, f"<tool_call>{ONE}{ONE}</tool_call>", 29),
        (MISTRAL, f"[TOOL_CALLS][{ONE}, {ONE}]", 9),
    ):
        deltas = family.parser(CHAT, thinking=False).feed(text)
        ids = [d.id for d in deltas if isinstance(d, ToolCallDelta) and d.id]
        assert len(set(ids)) == len(ids) > 0
        assert all(len(i) == length and i.replace("_", "").isalnum() for i in ids)


def test_the_models_own_id_is_kept() -> None:
    for text in (
        '[TOOL_CALLS][{"id": "abc123def", "name": "get", "arguments": {}}]',
        "[TOOL_CALLS]get[CALL_ID]abc123def[ARGS]{}",
    ):
        [start, *_] = MISTRAL.parser(CHAT, thinking=False).feed(text)
        assert isinstance(start, ToolCallDelta)
        assert start.id == "abc123def"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), json_values, max_size=4)


@settings(deadline=None, max_examples=40)
@given(
    calls=st.lists(st.tuples(st.sampled_from([tool.name for tool in TOOLS]), objects), min_size=1),
    ascii_only=st.booleans(),
    indent=st.none() | st.just(2),
    lead=st.sampled_from(["", "Let me look.", "1 < 2"]),
)
def test_all_calls_come_back_whole(
    calls: list[tuple[str, dict[str, object]]], ascii_only: bool, indent: int | None, lead: str
) -> None:
    written = [(n, json.dumps(a, ensure_ascii=ascii_only, indent=indent)) for n, a in calls]
    objects = [f'{{"name": "{name}", "arguments": {text}}}' for name, text in written]
    tagged = "\n".join(f"<tool_call>\n{text}\n</tool_call>" for text in objects)
    said: list[Part] = [lead] if lead else []
    assert parts(HERMES, f"{lead}\n{tagged}" if lead else tagged, CHAT) == [*said, *written]
    assert parts(MISTRAL, f"{lead}[TOOL_CALLS][{', '.join(objects)}]", CHAT) == [*said, *written]
    named = "[TOOL_CALLS]" + "".join(f"{name}[ARGS]{text}" for name, text in written)
    assert parts(MISTRAL, lead + named, CHAT) == [*said, *written]
    assert parts(LLAMA, "; ".join(objects), CHAT) == written


TAGS = ("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "<think>", "</think>")
JSON = (
    '{"name": "get"',
    '{"name": "no"',
    ', "arguments": {',
    '"a": "b\\"',
    '"',
    "}",
    "]",
    "[",
    ";",
)
TEXT = ("[ARGS]", " ", "\n", "get", "text", "<", "{", ",", "\\ud83d", "\U0001f600")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from((*TAGS, *JSON, *TEXT)), max_size=12), st.booleans())
def test_any_mixture_of_pieces_reads_the_same_however_it_is_split(
    mixture: list[str], thinking: bool
) -> None:
    text = "".join(mixture)
    for family in (HERMES, LLAMA, MISTRAL):
        parts(family, text, CHAT, thinking=thinking)
