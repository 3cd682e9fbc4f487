"""Reading objects of clients: what is absent, null, wrong, and what nobody asked for."""

from typing import Any

import pytest

from engines.json_values import DEEPEST
from realtime.fields import MAX_JSON, Fields, SettingsError


def refusal(error: pytest.ExceptionInfo[SettingsError]) -> tuple[str, str]:
    return error.value.code, error.value.param


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_an_absent_key_gives_the_current_value_and_a_null_the_default() -> None:
    absent, null = Fields({}, "x"), Fields(dict.fromkeys("abcd"), "x")
    assert absent.string("a", 1, 2) == 1
    assert null.string("a", 1, 2) == 2
    assert absent.integer("b", 1, 2, (0, 1)) == 1
    assert null.integer("b", 1, 2, (0, 1)) == 2
    assert absent.number("c", 1, None, (0, 1)) == 1
    assert null.number("c", 1, None, (0, 1)) is None
    assert absent.boolean("d", True, False) is True
    assert null.boolean("d", True, False) is False


def test_a_child_is_one_object_however_often_it_is_asked_for() -> None:
    fields = Fields({"child": {"a": 1, "b": 2, "c": 3}}, "x")
    fields.child("child").value("a")
    fields.child("child").value("c")
    assert fields.unread() == ["x.child.b"]


def test_the_objects_of_a_list_are_named_by_their_place() -> None:
    fields = Fields({"list": [{"a": 1}, {"b": 1}], "null": None}, "x")
    assert [child.path for child in fields.children("list")] == ["x.list[0]", "x.list[1]"]
    assert fields.children("null") == []
    assert fields.children("absent") == []
    assert fields.unread() == ["x.list[0].a", "x.list[1].b"]


@pytest.mark.parametrize(
    ("value", "param"),
    [({}, "x.list"), ("ab", "x.list"), ([{}, 1], "x.list[1]"), ([{}] * 4, "x.list")],
)
def test_what_is_no_list_of_few_objects_is_refused(value: Any, param: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Fields({"list": value}, "x").children("list", most=3)
    assert refusal(caught) == ("invalid_value", param)


@pytest.mark.parametrize("values", [{}, {"a": None}])
def test_what_is_required_is_missing_when_absent_or_null(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        Fields(values, "x").text("a")
    assert refusal(caught) == ("missing_required_parameter", "x.a")
    assert caught.value.message == "Missing required parameter: 'x.a'."


def test_json_of_any_shape_is_bounded_in_size_and_depth() -> None:
    assert Fields({"a": nested(DEEPEST - 1)}, "x").json("a")
    assert Fields({}, "x").json("a") is None
    for value in (nested(DEEPEST), nested(300), "x" * MAX_JSON):
        with pytest.raises(SettingsError) as caught:
            Fields({"a": value}, "x").json("a")
        assert refusal(caught) == ("invalid_value", "x.a")


@pytest.mark.parametrize("values", [None, [], "x", 1])
def test_what_is_no_object_has_no_fields(values: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        Fields(values, "x")
    assert refusal(caught) == ("invalid_value", "x")
