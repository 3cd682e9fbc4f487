"""JSON of others: how much of it is read, how deep it may be."""

import time

import orjson
import pytest

from engines.json_values import DEEPEST, MOST_VALUES, has_few_values, is_shallow


@pytest.mark.parametrize("piece", ["[],", "{},", "1,", '{"a":1},', "[" * 3 + "]" * 3 + ","])
def test_what_may_be_read_is_read_soon(piece: str) -> None:
    most = MOST_VALUES // sum(map(piece.count, ",[{"))
    text = "[" + piece * (most - 1) + "0]"
    assert has_few_values(text)
    assert has_few_values(text.encode())
    assert not has_few_values("[" + piece * (most + 1) + "0]")
    began = time.process_time()
    orjson.loads(text)
    assert time.process_time() - began < 2


def test_long_strings_are_no_values() -> None:
    assert has_few_values('{"a":"' + "A" * 10_000_000 + '"}')
    assert not has_few_values(b"," * 600_000)
    assert not has_few_values("\ud83d," * 600_000)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_has_an_end(opening: str) -> None:
    def nested(levels: int) -> object:
        closing = "]" if opening == "[" else "}"
        return orjson.loads(opening * levels + "1" + closing * levels)

    assert is_shallow(nested(DEEPEST - 1))
    assert not is_shallow(nested(DEEPEST + 1))
    assert not is_shallow(nested(1_000))
