"""Grammars of JSON schemas, as llama.cpp itself takes them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from checked_grammars import Checker, styles

from engines.base import InvalidInput
from engines.grammars import json_grammar

Schema = dict[str, Any]


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checker]:
    checker = Checker(tmp_path_factory.mktemp("vocabulary"))
    yield checker
    checker.close()


OBJECT: Schema = {"type": "object"}
PERSON: Schema = {
    "type": "object",
    "title": "Person",
    "properties": {
        "name": {"type": "string", "description": "Full name"},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "mail": {"type": ["string", "null"], "format": "email"},
    },
    "required": ["name"],
    "additionalProperties": False,
}
TREE: Schema = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "value": {"type": "number"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
            },
            "required": ["value"],
        }
    },
}

CASES: list[tuple[Schema, list[object], list[object]]] = [
    ({}, [None, 1, "a", [1, {"b": []}], {"a": {}}, -1.5e3], []),
    (OBJECT, [{}, {"a": 1, "b": [{"c": None}]}], [[], 1, "a", None]),
    (
        PERSON,
        [{"name": "Ada"}, {"name": "", "age": 130}, {"name": 'é"\\\n', "age": 7, "mail": None}],
        [
            *({}, {"age": 1}, {"name": 1}, {"name": "a", "age": 131}, {"name": "a", "age": -1}),
            *({"age": 1, "name": "a"}, {"name": "a", "other": 1}, {"name": "a", "age": 1.5}),
        ],
    ),
    (
        {"properties": {"a": {}, "b": {}, "c": {}}, "required": ["b"]},
        [{"b": 1}, {"a": 1, "b": 1}, {"b": 1, "c": 1}, {"a": 1, "b": 1, "c": 1}],
        [{}, {"a": 1}, {"c": 1}, {"a": 1, "c": 1}, {"b": 1, "d": 1}],
    ),
    (
        {"properties": {"a": {}, "b": {}}, "additionalProperties": {"type": "integer"}},
        [{}, {"a": "x"}, {"b": "x"}, {"z": 1}, {"a": "x", "z": 1, "y": 2}, {"ab": 1, "": 2}],
        [{"z": "x"}, {"z": 1, "a": "x"}, {"ab": "x"}],
    ),
    ({"type": "object", "additionalProperties": False}, [{}], [{"a": 1}]),
    ({"type": "object", "required": ["a"]}, [{"a": 1}], [{}, {"b": 1}]),
    ({"type": "array"}, [[], [1, "a", None]], [{}, 1]),
    ({"items": {"type": "boolean"}}, [[], [True], [True, False]], [[1]]),
    (
        {"type": "array", "items": {"type": "null"}, "minItems": 2},
        [[None] * 2, [None] * 5],
        [[None]],
    ),
    (
        {"items": {"type": "null"}, "minItems": 1, "maxItems": 2},
        [[None], [None] * 2],
        [[], [None] * 3],
    ),
    ({"type": "array", "items": False}, [[]], [[1]]),
    ({"type": "array", "items": {"const": 1}, "maxItems": 700}, [[], [1] * 700], [[1] * 701]),
    (
        {"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
        [["a", 1]],
        [["a"], ["a", 1, 1], [1, "a"], []],
    ),
    (
        {"prefixItems": [{"type": "string"}], "items": {"type": "integer"}, "maxItems": 3},
        [["a"], ["a", 1], ["a", 1, 2]],
        [["a", "b"], ["a", 1, 2, 3]],
    ),
    ({"items": [{"type": "string"}, {"type": "null"}]}, [["a", None]], [["a"], [None, "a"]]),
    ({"type": "string"}, ["", "é\u2028\U0001f600", 'a"b\\c\n\x00'], [1, None]),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "é\n😀"], ["a", "abcd"]),
    ({"type": "string", "maxLength": 3000}, ["", "a" * 3000, "a" * 600], ["a" * 3001]),
    ({"type": "string", "minLength": 600}, ["a" * 600, "a" * 999], ["a" * 599]),
    ({"type": "string", "pattern": "^a+$"}, ["a", "aaa"], ["", "b", "ab"]),
    ({"type": "string", "pattern": "b"}, ["b", "abc", "\n b"], ["", "ac"]),
    ({"pattern": "^(foo|ba[rz]){1,2}$"}, ["foo", "barbaz"], ["", "bar-", "foofoofoo"]),
    (
        {"pattern": r'^\d{3}-[^a-z"]\w*\s?"\\$'},
        ['123-A"\\', '123-9_z\n"\\'],
        ['123-a"\\', '12-A"\\'],
    ),
    ({"pattern": r"^\+?[0-9. ]*\u0041|end$"}, ["+1 2A and", "A", "the end"], ["+1 2", "ends"]),
    ({"pattern": "^.$"}, ["a", '"', "~"], ["\n", "", "ab"]),
    (
        {"type": "string", "format": "date"},
        ["2026-11-21", "2024-02-29", "2000-02-29", "1999-12-31"],
        ["2026-02-29", "1900-02-29", "2026-13-01", "2026-04-31", "26-1-1", "2026-00-10"],
    ),
    ({"format": "time"}, ["23:59:59Z", "01:02:03.5+01:00"], ["24:00:00Z", "1:02:03Z", "01:02:03"]),
    ({"format": "date-time"}, ["2026-11-21T12:00:00Z"], ["2026-11-21", "2026-11-21 12:00:00Z"]),
    ({"format": "uuid"}, ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567"]),
    ({"type": "string", "format": "email"}, ["anything"], [1]),
    ({"type": "integer"}, [0, -7, 12, 10**15], [1.5, "1", True]),
    ({"type": "number"}, [0, -0.5, 1.25e-7, 10**12], ["1", None]),
    (
        {"type": "integer", "minimum": -12, "maximum": 345},
        [-12, -9, 0, 45, 345],
        [-13, 346, 999, -20],
    ),
    ({"type": "integer", "minimum": 7}, [7, 10, 99, 10**15], [6, 0, -7]),
    ({"type": "integer", "exclusiveMaximum": -1}, [-2, -10, -999], [-1, 0, 5]),
    ({"type": "integer", "exclusiveMinimum": 0.5, "maximum": 2.5}, [1, 2], [0, 3]),
    ({"minimum": 0, "maximum": 1}, [0, 1, 0.5, 0.125, 1.0], [1.1, -0.1, 2, 10]),
    ({"type": "number", "exclusiveMinimum": 0}, [0.5, 0.001, 1, 25.75], [0, 0.0, -1]),
    (
        {"type": "number", "minimum": -1.5, "maximum": -0.25},
        [-1.5, -1, -0.25, -0.3],
        [-0.2, 0, -1.6],
    ),
    ({"type": "number", "minimum": 10, "exclusiveMinimum": True}, [10.5, 11], [10, 10.0, 9]),
    ({"enum": ["a", 1, None, {"b": [1]}]}, ["a", 1, None], ["b", 2, {}]),
    ({"type": "string", "enum": ["a", 1, "long"], "maxLength": 2}, ["a"], [1, "long"]),
    ({"const": 'quo"te\\'}, ['quo"te\\'], ["quote"]),
    ({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]}, [1, "a"], ["ab", None]),
    ({"oneOf": [{"const": 1}, {"type": "null"}], "title": "One"}, [1, None], [2]),
    ({"type": ["integer", "null", "number"]}, [1, None, 1.5], ["a"]),
    (
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "anyOf": [{"required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}],
        },
        [{"a": 1}, {"b": 1}, {"a": 1, "b": "x"}],
        [{}, {"a": "x"}, {"b": 1, "a": "x"}],
    ),
    (
        {
            "allOf": [
                {"properties": {"a": {"type": "number"}}, "required": ["a"]},
                {"properties": {"a": {"maximum": 9}, "b": {"type": "null"}}},
            ]
        },
        [{"a": 9}, {"a": 0.5, "b": None}],
        [{"a": 10}, {"b": None}, {"a": "x"}],
    ),
    (TREE, [{"value": 1}, {"value": 1, "children": [{"value": 2, "children": []}]}], [{}, []]),
    (
        {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]},
        [None, [], [[None, []], None]],
        [[1]],
    ),
    (
        {"$defs": {"a/b": {"type": "null"}, "c": {"$ref": "#/$defs/a~1b"}}, "$ref": "#/$defs/c"},
        [None],
        [1],
    ),
    (
        {"$ref": "#/definitions/x", "maxLength": 1, "definitions": {"x": {"type": "string"}}},
        ["", "a"],
        ["ab", 1],
    ),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), CASES)
def test_what_fits_is_accepted_and_what_does_not_is_not(
    checker: Checker, schema: Schema, valid: list[object], invalid: list[object]
) -> None:
    grammar = json_grammar(schema)
    for value in valid:
        for text in styles(value):
            assert checker.accepts(grammar.text, text), text
    for value in invalid:
        for text in styles(value):
            assert not checker.accepts(grammar.text, text), text


def test_any_object_is_all_that_json_mode_takes(checker: Checker) -> None:
    grammar = json_grammar(None).text
    for value in ({}, {"a": [1, {"b": None}], "c": "\u00e9"}):
        assert all(checker.accepts(grammar, text) for text in styles(value))
    for text in ("[]", "1", '{"a": 01}', '{"a": 1,}', "{'a': 1}", '{"a": 1} ', '{"a": "\n"}', "{"):
        assert not checker.accepts(grammar, text)


def test_half_a_surrogate_pair_cannot_be_written(checker: Checker) -> None:
    grammar = json_grammar({"type": "string"}).text
    assert checker.accepts(grammar, '"\\ud83d\\ude00"')
    for text in ('"\\ud83d"', '"\\ude00"', '"\\ud83d\\u0041"'):
        assert not checker.accepts(grammar, text)


def test_white_space_comes_to_an_end(checker: Checker) -> None:
    grammar = json_grammar(None).text
    assert checker.begins(grammar, '{\n    "a"')
    assert not checker.begins(grammar, "{\n\n")
    assert not checker.begins(grammar, "{  ")
    assert not checker.begins(grammar, "{\n" + " " * 21)


def test_a_name_in_disguise_is_no_additional_property(checker: Checker) -> None:
    schema = {"properties": {"ab": {"type": "null"}}, "additionalProperties": True}
    grammar = json_grammar(schema).text
    assert checker.accepts(grammar, '{"ab": null, "a": 1, "abc": 1, "b": 1}')
    assert not checker.accepts(grammar, '{"a": 1, "ab": 1}')
    assert not checker.accepts(grammar, '{"\\u0061b": 1}')


REFUSED: list[tuple[Schema, str]] = [
    ({"not": {"type": "string"}}, "keyword 'not' at $ is not supported"),
    ({"properties": {"a": {"uniqueItems": True}}}, "keyword 'uniqueItems' at $.properties.a"),
    ({"items": {"multipleOf": 2}}, "keyword 'multipleOf' at $.items"),
    ({"anyOf": [{}, {"if": {}}]}, "keyword 'if' at $.anyOf[1]"),
    ({"$defs": {"A": {"contains": {}}}, "$ref": "#/$defs/A"}, "keyword 'contains' at $.$defs.A"),
    ({"patternProperties": {"^a": {}}}, "keyword 'patternProperties'"),
    ({"type": "object", "minProperties": 1}, "keyword 'minProperties'"),
    ({"dependentSchemas": {"a": {}}}, "keyword 'dependentSchemas'"),
    ({"$ref": "https://example.com/schema"}, "keyword '$ref' at $ is not supported"),
    ({"$ref": "#/$defs/nothing"}, "refers to nothing"),
    ({"$ref": "#"}, "refers to itself"),
    ({"allOf": [{"$ref": "#"}]}, "contains itself"),
    ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "contains itself"),
    ({"pattern": "(?=a)"}, "keyword 'pattern' at $ is not supported"),
    ({"pattern": "(a"}, "keyword 'pattern'"),
    ({"pattern": "a**"}, "keyword 'pattern'"),
    ({"pattern": "(a*)*"}, "may be empty"),
    ({"pattern": r"\bword\1"}, "keyword 'pattern'"),
    ({"pattern": "^((a{1,99}){1,99}){1,99}$"}, "repetitions of groups"),
    ({"pattern": "(a|aa){0,2000}"}, "repetitions of groups"),
    ({"pattern": "a{1,600}" * 3}, "several repetitions"),
    ({"pattern": "a?" * 65}, "may be left out"),
    ({"pattern": "a", "minLength": 3}, "combined with a length"),
    ({"type": "strnig"}, "keyword 'type' at $ has a value"),
    ({"type": "string", "minLength": -1}, "keyword 'minLength'"),
    ({"properties": []}, "keyword 'properties'"),
    ({"properties": {"a": 3}}, "$.properties.a must be a schema"),
    ({"required": "a"}, "keyword 'required'"),
    ({"enum": []}, "no value fits the schema at $"),
    ({"type": "string", "minLength": 3, "maxLength": 2}, "no value fits"),
    ({"minimum": 3, "maximum": 2}, "no number can be written"),
    ({"allOf": [{"type": "string"}, {"type": "null"}]}, "no value fits"),
    ({"required": ["a"], "additionalProperties": False}, "required property 'a' at $ is forbidden"),
    ({"type": "string", "maxLength": 10**7}, "too large"),
    ({"type": "string", "maxLength": 10**400}, "too large"),
    ({"minimum": 10**400}, "no number can be written"),
    ({"minimum": float("inf")}, "a number that is too large"),
    ({"type": "number", "enum": [1, float("inf")]}, "a number that is too large"),
    ({"properties": {"a": {"const": [float("nan")]}}}, "a number that is too large"),
    ({"enum": ["x" * 70_000]}, "larger than 64 KiB"),
    (
        {"allOf": [{"additionalProperties": False}, {"properties": {"a": {}}}]},
        "keyword 'additionalProperties' at $ is not supported",
    ),
]


@pytest.mark.parametrize(("schema", "message"), REFUSED)
def test_what_cannot_be_kept_is_refused_by_name(schema: Schema, message: str) -> None:
    with pytest.raises(InvalidInput) as error:
        json_grammar(schema)
    assert message in str(error.value)
    assert str(error.value).startswith("Invalid schema for response_format: ")
    assert str(error.value).endswith(".")
    assert error.value.param == "response_format"


def test_a_schema_that_is_nested_without_end_is_refused() -> None:
    nested: Schema = {}
    chain: dict[str, Schema] = {"0": {"type": "null"}}
    for n in range(10_000):
        nested = {"items": nested}
        chain[f"{n + 1}"] = {"items": {"$ref": f"#/$defs/{n}"}}
    few = {name: chain[name] for name in list(chain)[:500]}
    for schema in (nested, {"$defs": few, "$ref": "#/$defs/499"}):
        with pytest.raises(InvalidInput, match="nested deeper than 64"):
            json_grammar(schema)


def test_alternatives_that_multiply_are_refused() -> None:
    doubled: dict[str, Schema] = {"0": {"type": "null"}}
    for n in range(30):
        doubled[f"{n + 1}"] = {"allOf": [{"$ref": f"#/$defs/{n}"}] * 2}
    with pytest.raises(InvalidInput, match="refer to each other too often"):
        json_grammar({"$defs": doubled, "$ref": "#/$defs/30"})
    choice: Schema = {"anyOf": [{"minLength": n} for n in range(9)]}
    with pytest.raises(InvalidInput, match="more than 256 alternatives"):
        json_grammar({"allOf": [choice] * 4})


LEAF: Schema = {"properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}
BRANCH: Schema = {
    "properties": {
        "name": {"type": "string"},
        "twigs": {
            "type": "array",
            "items": {"anyOf": [{"$ref": "#/$defs/B"}, {"$ref": "#/$defs/L"}]},
        },
    },
    "required": ["name", "twigs"],
}
KINDS: Schema = {
    "anyOf": [
        {"properties": {"kind": {"const": kind}, "part": {"$ref": "#"}}, "required": ["kind"]}
        for kind in ("a", "b")
    ]
}


def test_alternatives_that_can_be_told_apart_may_contain_themselves(checker: Checker) -> None:
    tree = {"$ref": "#/$defs/B", "$defs": {"B": BRANCH, "L": LEAF}}
    value = {"name": "a", "twigs": [{"name": "b", "size": 1}, {"name": "c", "twigs": []}]}
    assert checker.accepts(json_grammar(tree).text, json.dumps(value))
    nested: Schema = {"kind": "a"}
    for _ in range(50):
        nested = {"kind": "b", "part": nested}
    assert checker.accepts(json_grammar(KINDS).text, json.dumps(nested))


def test_alternatives_that_multiply_with_each_level_are_refused() -> None:
    part: Schema = {"$ref": "#"}
    for alike in (
        [{"items": part, "maxItems": 9}, {"items": part, "minItems": 1}],
        [{"properties": {"a": part}}, {"properties": {"b": {}, "a": part}}],
        [{"additionalProperties": part}, {"properties": {"a": part}}],
        [{"type": "object"}, {"properties": {"a": part}}],
    ):
        with pytest.raises(InvalidInput, match="begin alike and contain themselves"):
            json_grammar({"anyOf": [*alike, {"type": "null"}]})


def test_alike_alternatives_are_refused_where_they_are_nested_often() -> None:
    def nested(levels: int) -> Schema:
        inner: Schema = {"type": "array"}
        for _ in range(levels):
            inner = {"anyOf": [{"items": inner}, {"items": inner, "minItems": 2}]}
        return inner

    assert json_grammar(nested(5)).text
    with pytest.raises(InvalidInput, match="too many alternatives begin alike"):
        json_grammar(nested(9))


def test_a_loop_is_found_through_what_is_known_already() -> None:
    definitions: Schema = {
        "A": {"properties": {"b": {"$ref": "#/$defs/B"}, "c": {"$ref": "#/$defs/C"}}},
        "B": {"properties": {"a": {"$ref": "#/$defs/A"}}},
        "C": {"anyOf": [{"items": {"$ref": "#/$defs/B"}, "minItems": n} for n in (1, 2)]},
    }
    with pytest.raises(InvalidInput, match="C begin alike and contain themselves"):
        json_grammar({"$ref": "#/$defs/A", "$defs": definitions})
