"""The book of a key-value cache."""

from hypothesis import given
from hypothesis import strategies as st

from engines.kv_cells import Cells


def test_a_shared_prefix_takes_no_cells_of_its_own() -> None:
    cells = Cells(10, 4)
    first, second = _opened(cells, [1, 2, 3, 4]), _opened(cells)
    cells.share(first, second, 3)
    cells.extend(second, [9])
    assert (cells.room, cells.held(second)) == (5, 4)


def test_shared_cells_come_free_with_the_last_that_has_them() -> None:
    cells = Cells(10, 4)
    first, second = _opened(cells, [1, 2, 3, 4]), _opened(cells)
    cells.share(first, second, 3)
    cells.free(first)
    assert cells.room == 7
    cells.free(second)
    assert cells.room == 10


def test_the_longest_prefix_is_found_among_active_and_idle_sequences() -> None:
    cells = Cells(100, 8)
    short, long = _opened(cells, [1, 2]), _opened(cells, [1, 2, 3, 4])
    cells.rest(long)
    assert cells.longest_prefix([1, 2, 3, 9]) == (long, 3)
    assert cells.longest_prefix([1, 2]) in ((short, 2), (long, 2))
    assert cells.longest_prefix([7]) == (-1, 0)


def test_idle_sequences_are_offered_longest_unused_first() -> None:
    cells = Cells(100, 8)
    first, second = _opened(cells, [1]), _opened(cells, [2])
    cells.rest(first)
    cells.rest(second)
    assert cells.idle == [first, second]
    cells.share(first, _opened(cells), 1)
    assert cells.idle == [second, first]


def test_the_id_of_a_sequence_that_was_freed_can_be_opened_again() -> None:
    cells = Cells(10, 1)
    only = _opened(cells)
    assert cells.open_ids == 0
    cells.free(only)
    assert cells.open() == only


_ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["open", "extend", "share", "cut", "free", "rest"]),
        st.integers(0, 5),
        st.integers(0, 5),
        st.integers(0, 8),
    ),
    max_size=60,
)


@given(_ACTIONS)
def test_cells_in_use_are_those_of_distinct_histories(
    actions: list[tuple[str, int, int, int]],
) -> None:
    cells = Cells(64, 4)
    model: dict[int, list[object]] = {}
    for name, one, other, count in actions:
        _act(cells, model, name, (one, other, count))
    distinct = {id(cell) for held in model.values() for cell in held}
    assert cells.room == 64 - len(distinct)
    assert all(cells.held(number) == len(held) for number, held in model.items())


def _act(
    cells: Cells, model: dict[int, list[object]], name: str, args: tuple[int, int, int]
) -> None:
    one, other, count = args
    if name == "open":
        assert cells.open_ids == 4 - len(model)
        if cells.open_ids:
            model[cells.open()] = []
        return
    if one not in model:
        return
    match name:
        case "extend" if cells.room >= count:
            cells.extend(one, list(range(count)))
            model[one] += [object() for _ in range(count)]
        case "share" if other in model and not model[other] and count <= len(model[one]):
            cells.share(one, other, count)
            model[other] = model[one][:count]
        case "cut":
            cells.cut(one, count)
            del model[one][count:]
        case "free":
            cells.free(one)
            del model[one]
        case "rest":
            cells.rest(one)


def _opened(cells: Cells, tokens: list[int] | None = None) -> int:
    number = cells.open()
    cells.extend(number, tokens or [])
    return number
