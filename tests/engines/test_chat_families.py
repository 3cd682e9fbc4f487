"""The families of chat models: which one a template is written for, and their grammars."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from answer_parts import Part, parts
from checked_grammars import Checker

from engines.base import InvalidInput
from engines.chat_families import Family, family_of
from engines.generation import Chat, Format, Tool, ToolChoice

WEATHER = Tool(
    "get_weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "maximum": 9}},
        "required": ["city"],
    },
)
STOP = Tool("stop")
CHAT = Chat(({"role": "user", "content": "hello"},), (WEATHER, STOP))
REQUIRED = replace(CHAT, tool_choice=ToolChoice("required"))
NAMED = replace(CHAT, tool_choice=ToolChoice("required", "stop"))
ONE_BY_ONE = replace(REQUIRED, parallel_tool_calls=False)

Written = tuple[str, object]

TEXT = Format()
COLOUR = Format("json_schema", {"enum": ["red", "blue"]})

FAMILIES = [
    Family("hermes"),
    Family("plain"),
    Family("llama3"),
    Family("mistral"),
    Family("mistral", named=True),
]


def ids(family: Family) -> str:
    return f"{family.name}-named" if family.named else family.name


every_family = pytest.mark.parametrize("family", FAMILIES, ids=ids)


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checker]:
    checker = Checker(tmp_path_factory.mktemp("vocabulary"))
    yield checker
    checker.close()


def grammar(family: Family, chat: Chat, format: Format = TEXT, *, thinking: bool = False) -> str:
    found = family.grammar(chat, format, thinking=thinking)
    assert found is not None
    return found.text


def written(family: Family, *calls: Written) -> str:
    """`calls` as the family writes them."""
    key = "parameters" if family.name == "llama3" else "arguments"
    objects = [json.dumps({"name": name, key: arguments}) for name, arguments in calls]
    match family.name:
        case "llama3":
            return "; ".join(objects)
        case "mistral" if family.named:
            return "".join(f"[TOOL_CALLS]{n}[ARGS]{json.dumps(a)}" for n, a in calls)
        case "mistral":
            return f"[TOOL_CALLS][{', '.join(objects)}]"
        case _:
            return "\n".join(f"<tool_call>\n{text}\n</tool_call>" for text in objects)


PARIS: Written = ("get_weather", {"city": "Paris", "days": 3})
MANY_DAYS: Written = ("get_weather", {"city": "Paris", "days": 10})
NO_CITY: Written = ("get_weather", {})
HALT: Written = ("stop", {})
UNKNOWN: Written = ("dance", {})

TEMPLATES: list[tuple[str | None, Family]] = [
    (None, Family("plain")),
    ("{{ messages[0].content }}", Family("plain")),
    ("<|im_start|>{{ '<tool_call>' }}", Family("hermes")),
    ("{{ '<tool_call>' }}{% if enable_thinking %}<think>", Family("hermes", thinks=True)),
    ("<|start_header_id|>{% if tools %}", Family("llama3")),
    ("<|start_header_id|>", Family("plain")),
    ("<|python_tag|>", Family("llama3")),
    ("[AVAILABLE_TOOLS][TOOL_CALLS]", Family("mistral")),
    ("[TOOL_CALLS]{{ name }}[ARGS]", Family("mistral", named=True)),
    (
        "[THINK][TOOL_CALLS][ARGS]",
        Family("mistral", ("[THINK]", "[/THINK]"), thinks=True, named=True),
    ),
    ("{{ content.split('</think>')[-1] }}", Family("plain", thinks=True)),
]


@pytest.mark.parametrize(("template", "family"), TEMPLATES)
def test_a_template_shows_its_family(template: str | None, family: Family) -> None:
    assert family_of(template) == family


@every_family
def test_there_is_no_grammar_where_anything_goes(family: Family) -> None:
    assert family.grammar(Chat(()), TEXT) is None
    assert family.grammar(replace(CHAT, tool_choice=ToolChoice("none")), TEXT) is None


@every_family
def test_a_call_that_must_be_is_all_that_there_is(checker: Checker, family: Family) -> None:
    text = grammar(family, REQUIRED)
    for calls in ([PARIS], [HALT], [PARIS, HALT, PARIS]):
        assert checker.accepts(text, written(family, *calls))
    for wrong in (MANY_DAYS, NO_CITY, UNKNOWN):
        assert not checker.accepts(text, written(family, wrong))
    for other in ("", "Hello", f"Hello {written(family, PARIS)}", written(family, PARIS)[:-1]):
        assert not checker.accepts(text, other)


@every_family
def test_one_call_is_all_where_they_are_not_parallel(checker: Checker, family: Family) -> None:
    text = grammar(family, ONE_BY_ONE)
    assert checker.accepts(text, written(family, PARIS))
    assert not checker.begins(text, written(family, PARIS, HALT))


@every_family
def test_the_named_function_is_called_once(checker: Checker, family: Family) -> None:
    text = grammar(family, NAMED)
    assert checker.accepts(text, written(family, HALT))
    assert not checker.accepts(text, written(family, PARIS))
    assert not checker.accepts(text, written(family, HALT, HALT))


@every_family
def test_text_is_free_until_a_call_begins(checker: Checker, family: Family) -> None:
    text = grammar(family, CHAT)
    tag = {"mistral": "[TOOL_CALLS]"}.get(family.name, "<tool_call>")
    for free in (
        "",
        "Hello\n\n  <b>world</b> {[<|",
        '[1, {"name": "Ada"}]',
        '{"name": "Ada"}',
        "\n",
    ):
        assert checker.accepts(text, free), free
    assert checker.accepts(text, tag[:-1])
    for calls in ([PARIS], [HALT, PARIS]):
        assert checker.accepts(text, written(family, *calls))
        if family.name != "llama3":
            assert checker.accepts(text, "Let me see.\n" + written(family, *calls))
    for wrong in (MANY_DAYS, NO_CITY):
        assert not checker.accepts(text, written(family, wrong))
    assert not checker.accepts(text, written(family, PARIS)[:-1])
    if family.name != "llama3":
        assert not checker.accepts(text, written(family, UNKNOWN))
        assert not checker.accepts(text, f"Hello {tag}")


def test_llamas_tag_is_followed_by_a_call(checker: Checker) -> None:
    text = grammar(Family("llama3"), CHAT)
    assert checker.accepts(text, "<|python_tag|>" + written(Family("llama3"), PARIS))
    assert checker.accepts(text, "<|python|>")
    assert not checker.accepts(text, "<|python_tag|>print(1)")


@every_family
def test_a_call_or_json_is_wanted_where_there_are_tools_and_a_format(
    checker: Checker, family: Family
) -> None:
    text = grammar(family, CHAT, COLOUR)
    for answer in ('"red"', '\n"blue"', written(family, PARIS)):
        assert checker.accepts(text, answer)
    for answer in ('"green"', "red", written(family, NO_CITY), ""):
        assert not checker.accepts(text, answer)
    assert not checker.accepts(grammar(family, REQUIRED, COLOUR), '"red"')
    text = grammar(family, replace(CHAT, tool_choice=ToolChoice("none")), COLOUR)
    assert checker.accepts(text, '"red"')
    assert not checker.accepts(text, written(family, PARIS))


@every_family
def test_thoughts_are_free_and_come_first(checker: Checker, family: Family) -> None:
    call = written(family, PARIS)
    for chat, format, answer in (
        (REQUIRED, TEXT, call),
        (Chat(()), COLOUR, '"red"'),
        (Chat(()), Format("json_object"), '{"a": 1}'),
    ):
        text = grammar(replace(family, thinks=True), chat, format)
        assert checker.accepts(text, answer)
        assert checker.accepts(text, f"<think>\nHm, {call[:9]} </thin\n</think>\n\n{answer}")
        assert not checker.accepts(text, f"<think>Hm.</think>Hello {answer}")
        assert not checker.accepts(text, "<think>Hm.")
        assert not checker.accepts(grammar(family, chat, format), f"<think></think>{answer}")
        text = grammar(family, chat, format, thinking=True)
        assert checker.accepts(text, f"Hm.</think>\n{answer}")
        assert not checker.accepts(text, answer)


@every_family
def test_calls_in_thoughts_are_free_and_those_after_them_are_not(
    checker: Checker, family: Family
) -> None:
    wrong, right = written(family, NO_CITY), written(family, PARIS)
    for text, start in (
        (grammar(replace(family, thinks=True), CHAT), "<think>"),
        (grammar(family, CHAT, thinking=True), ""),
    ):
        assert checker.accepts(text, f"{start}{wrong}")
        assert checker.accepts(text, f"{start}{wrong}</think>\n{right}")
        assert checker.accepts(text, f"{start}Hm.</think>\nHello")
        assert not checker.accepts(text, f"{start}Hm.</think>{wrong}")


@every_family
def test_what_the_grammar_lets_pass_is_read_as_calls(checker: Checker, family: Family) -> None:
    read = 0
    for seed in range(8):
        text = checker.write(grammar(family, REQUIRED), random.Random(seed))
        if text is None:
            continue
        calls = parts(family, text, REQUIRED)
        assert calls
        for call in calls:
            assert isinstance(call, tuple)
            name, arguments = call[0], call[-1]
            assert isinstance(json.loads(arguments), dict)
            assert name == "stop" or "city" in json.loads(arguments)
        read += 1
    assert read >= 2


def test_a_schema_that_is_not_supported_is_refused_for_strict_tools_only(checker: Checker) -> None:
    tool = Tool("count", parameters={"type": "object", "properties": {"a": {"not": {}}}})
    chat = replace(REQUIRED, tools=(tool, WEATHER))
    text = grammar(Family("hermes"), chat)
    assert checker.accepts(text, written(Family("hermes"), ("count", {"any": [1]})))
    assert not checker.accepts(text, written(Family("hermes"), NO_CITY))
    with pytest.raises(InvalidInput) as error:
        grammar(Family("hermes"), replace(chat, tools=(replace(tool, strict=True),)))
    assert error.value.param == "tools"
    assert str(error.value) == (
        "Invalid schema for function 'count': keyword 'not' at $.properties.a is not supported."
    )


def test_a_tool_that_is_not_there_cannot_be_chosen() -> None:
    for chat in (
        replace(CHAT, tool_choice=ToolChoice("required", "dance")),
        replace(CHAT, tools=(), tool_choice=ToolChoice("required")),
    ):
        with pytest.raises(InvalidInput) as error:
            Family("hermes").grammar(chat, TEXT)
        assert error.value.param == "tool_choice"


def test_arguments_are_an_object_whatever_the_schema_says(checker: Checker) -> None:
    family = Family("hermes")
    tools = (Tool("a", parameters={"type": "string"}), Tool("b", parameters={}))
    text = grammar(family, replace(REQUIRED, tools=tools))
    for name in "ab":
        assert checker.accepts(text, written(family, (name, {"x": 1})))
        assert not checker.accepts(text, written(family, (name, "x")))


def test_many_tools_fit_into_one_grammar(checker: Checker) -> None:
    tools = tuple(replace(WEATHER, name=f"get_weather_of_{n}") for n in range(128))
    chat = replace(CHAT, tools=tools)
    for family in FAMILIES:
        text = grammar(family, chat)
        assert checker.accepts(text, written(family, ("get_weather_of_77", {"city": ""})))
        assert not checker.accepts(text, written(family, ("get_weather_of_77", {})))


EXAMPLE: Part = ("stop", "{}")


def test_a_grammar_reads_with_its_own_parser(checker: Checker) -> None:
    for family in FAMILIES:
        text = written(family, HALT, HALT)
        assert checker.accepts(grammar(family, REQUIRED), text)
        assert parts(family, text, REQUIRED) == [EXAMPLE, EXAMPLE]
