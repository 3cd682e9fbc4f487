"""Grammars made of schemas: what they let a model write fits, and what fits they let pass."""

import json
import random
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from checked_grammars import Checker, styles
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from engines.grammars import json_grammar

Schema = dict[str, Any]


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checker]:
    checker = Checker(tmp_path_factory.mktemp("vocabulary"))
    yield checker
    checker.close()


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Leaf(BaseModel):
    kind: Literal["leaf"]
    size: Annotated[int, Field(ge=-3, lt=1000)]


class Branch(BaseModel):
    kind: Literal["branch"]
    twigs: Annotated[list["Branch | Leaf"], Field(max_length=2)] = []
    share: Annotated[float, Field(gt=0, le=1)] | None = None


class Plant(BaseModel, extra="forbid"):
    name: Annotated[str, Field(min_length=1, max_length=8)]
    code: Annotated[str, Field(pattern=r"^[A-Z]{2}-\d+$")] = "AA-0"
    colour: Colour
    root: Annotated[Branch | Leaf, Field(discriminator="kind")]
    sizes: tuple[int, bool]
    notes: dict[str, float] = {}


def test_what_is_written_by_the_grammar_of_a_pydantic_model_is_one(checker: Checker) -> None:
    grammar = json_grammar(Plant.model_json_schema()).text
    written = 0
    for seed in range(40):
        text = checker.write(grammar, random.Random(seed), most=400)
        if text is not None:
            Plant.model_validate_json(text)
            written += 1
    assert written >= 10


@st.composite
def schemas(draw: st.DrawFn, depth: int = 3) -> tuple[Schema, st.SearchStrategy[Any]]:
    """A schema, and values that fit it in the order that its grammar wants."""
    kinds = ["string", "integer", "number", "boolean", "null", "enum"]
    kinds += ["object", "array", "anyOf"] if depth else []
    inner = schemas(depth - 1)
    match draw(st.sampled_from(kinds)):
        case "string":
            least, more = draw(st.integers(0, 3)), draw(st.none() | st.integers(0, 3))
            most = None if more is None else least + more
            schema: Schema = {"type": "string", "minLength": least}
            if most is not None:
                schema["maxLength"] = most
            return schema, st.text(min_size=least, max_size=most)
        case "integer":
            low, size = draw(st.integers(-2000, 2000)), draw(st.integers(0, 3000))
            schema = {"type": "integer", "minimum": low, "maximum": low + size}
            return schema, st.integers(low, low + size)
        case "number":
            low, size = draw(st.integers(-300, 300)), draw(st.integers(1, 300))
            schema = {"type": "number", "minimum": low / 4, "maximum": (low + size) / 4}
            return schema, st.integers(low, low + size).map(lambda n: n / 4)
        case "boolean":
            return {"type": "boolean"}, st.booleans()
        case "null":
            return {"type": "null"}, st.none()
        case "enum":
            values = draw(st.lists(st.text(max_size=4) | st.integers(), min_size=1, max_size=3))
            return {"enum": values}, st.sampled_from(values)
        case "array":
            (item, values_of), least = draw(inner), draw(st.integers(0, 2))
            schema = {"type": "array", "items": item, "minItems": least, "maxItems": least + 2}
            return schema, st.lists(values_of, min_size=least, max_size=least + 2)
        case "anyOf":
            choices = draw(st.lists(inner, min_size=1, max_size=3))
            return {"anyOf": [c for c, _ in choices]}, st.one_of(*(v for _, v in choices))
        case _:
            members = draw(st.dictionaries(st.text(max_size=5), inner, max_size=4))
            required = [name for name in members if draw(st.booleans())]
            schema = {
                "type": "object",
                "properties": {name: member for name, (member, _) in members.items()},
                "required": required,
                "additionalProperties": False,
            }
            always = {name: v for name, (_, v) in members.items() if name in required}
            maybe = {name: v for name, (_, v) in members.items() if name not in required}
            objects = st.fixed_dictionaries(always, optional=maybe)
            return schema, objects.map(lambda value: {n: value[n] for n in members if n in value})


def fits(value: object, schema: Mapping[str, Any]) -> bool:
    """A validator for what `schemas` makes."""
    if "anyOf" in schema:
        return any(fits(value, part) for part in schema["anyOf"])
    if "enum" in schema:
        return any(type(value) is type(one) and value == one for one in schema["enum"])
    match schema["type"], value:
        case "null", None:
            return True
        case "boolean", bool():
            return True
        case ("integer" | "number") as kind, int() | float() if not isinstance(value, bool):
            whole = kind == "number" or isinstance(value, int)
            return whole and bool(schema["minimum"] <= value <= schema["maximum"])
        case "string", str():
            return bool(schema["minLength"] <= len(value) <= schema.get("maxLength", len(value)))
        case "array", list():
            enough = schema["minItems"] <= len(value) <= schema["maxItems"]
            return enough and all(fits(item, schema["items"]) for item in value)
        case "object", dict():
            known = schema["properties"]
            complete = set(schema["required"]) <= value.keys() <= known.keys()
            return complete and all(fits(value[name], known[name]) for name in value)
    return False


@settings(deadline=None, max_examples=40)
@given(data=st.data(), seed=st.integers())
def test_grammars_are_as_wide_as_their_schemas_and_no_wider(
    checker: Checker, data: st.DataObject, seed: int
) -> None:
    schema, values = data.draw(schemas())
    grammar = json_grammar(schema).text
    value = data.draw(values)
    for text in styles(value)[1:]:
        assert checker.accepts(grammar, text), text
    written = checker.write(grammar, random.Random(seed), most=300)
    if written is not None:
        assert fits(json.loads(written), schema), written


PATTERNS = [
    r"^[A-Z]{2,3}-\d+(\.\d{1,2})?$",
    r"^(\w+)@(\w+)\.(com|org)$",
    r'^["\\\n]+$',
    r"^[^a-y]*z?$",
    r"^(ab+|c)$",
    r"^\S\s\D\W$",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_lets_pass_what_it_matches(checker: Checker, pattern: str) -> None:
    grammar = json_grammar({"type": "string", "pattern": pattern}).text
    written = 0
    for seed in range(20):
        text = checker.write(grammar, random.Random(seed), most=60)
        if text is not None:
            found = json.loads(text)
            assert re.search(pattern.removesuffix("$") + r"\Z" * pattern.endswith("$"), found)
            written += 1
    assert written


@settings(deadline=None, max_examples=20)
@given(data=st.data(), pattern=st.sampled_from([*PATTERNS, "ab+|^c$"]))
def test_what_matches_a_pattern_is_accepted(
    checker: Checker, data: st.DataObject, pattern: str
) -> None:
    grammar = json_grammar({"type": "string", "pattern": pattern}).text
    exact = re.compile(pattern.replace("$", r"\Z"), re.ASCII)
    text = data.draw(st.from_regex(exact, alphabet=st.characters(max_codepoint=0x7E)))
    if not any(character < " " and character not in "\t\n\r" for character in text):
        assert checker.accepts(grammar, json.dumps(text)), text
