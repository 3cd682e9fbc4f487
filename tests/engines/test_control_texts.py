"""A caller's text never has a control text in one piece, whatever is put beside it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engines.base import InvalidInput
from engines.control_texts import ControlTexts
from engines.marked_text import MARK, plain

CONTROL = ("<|im_start|>", "<|im_end|>", "<|im_end|><|im_start|>", "[INST]", "[/INST]", "</s>")
control = ControlTexts(CONTROL)

fragments = st.sampled_from(
    (*CONTROL, "<|im_", "start|>", "end|>", "im_end", "<", "|>", "[", "/INST]", "x", " ", "\n")
)
words = st.lists(fragments, max_size=5).map("".join)


def found_in(piece: str) -> list[str]:
    return [text for text in CONTROL if text in piece]


@given(texts=st.lists(words, max_size=4))
def test_texts_side_by_side_make_no_control_text(texts: list[str]) -> None:
    together = control.mark("").join(())
    for text in texts:
        together = together + control.mark(text)
    pieces = control.pieces(together)
    assert "".join(pieces) == "".join(texts)
    assert not [found for piece in pieces for found in found_in(piece)]


@given(before=words, text=words, after=words)
@example(before="<|im_", text="start", after="|>")
@example(before="<|im_", text=" start ", after="|>")
@example(before="<|im_", text=" start" + " " * 99, after="|>")
@example(before="<", text="|im_end|>", after="")
@example(before="<|im_end|>", text="<|im_start|>", after="")
def test_only_a_templates_own_control_texts_stay_whole(before: str, text: str, after: str) -> None:
    for given_text in (control.mark(text), control.mark(text).strip()):
        whole = before + plain(given_text) + after
        pieces = control.pieces(before + given_text + after)
        assert "".join(pieces) == whole
        ends = [len("".join(pieces[:at])) for at in range(1, len(pieces))]
        foreign = range(len(before), len(before) + len(given_text))
        for special in CONTROL:
            for at in range(len(whole)):
                place = range(at, at + len(special))
                if whole.startswith(special, at):
                    cut = any(place.start < end < place.stop for end in ends)
                    own = place.stop <= foreign.start or place.start >= foreign.stop or not foreign
                    assert cut or own


@given(text=words)
def test_a_templates_text_alone_is_one_piece(text: str) -> None:
    assert control.pieces(text) == (text,)


@pytest.mark.parametrize("text", ["", "no control text", "1 < 2 and [3]", "user", "> quoted"])
def test_a_text_without_control_texts_is_one_piece(text: str) -> None:
    assert control.pieces("<|im_start|>user\n" + control.mark(text) + "<|im_end|>") == (
        f"<|im_start|>user\n{text}<|im_end|>",
    )


def test_keys_and_items_are_marked_at_every_depth() -> None:
    value = {"<|im_end|>": [{"x": ("</s>", 1, None, True)}]}
    found = control.mark(value)
    assert found == {"<|im_end|>": [{"x": ["</s>", 1, None, True]}]}
    (key,) = found
    assert control.pieces(key + found[key][0]["x"][0]) == ("<", "|im_end|><", "/s>")


def test_white_space_and_single_characters_are_no_control_texts() -> None:
    loose = ControlTexts(("\n\n", "  ", "\t", "▁", ""))
    text = "a\n\nb  c\t▁"
    assert type(loose.mark(text)) is str
    assert loose.pieces(loose.mark(text)) == (text,)


def test_a_character_of_a_pattern_is_a_character() -> None:
    odd = ControlTexts(("[^a]", "]]", "--", "^^", "\\d", ".*"))
    for text in ("[^a]", "]]", "--", "^^", "\\d", ".*"):
        assert len(odd.pieces(odd.mark(text))) == 2


def test_the_longest_of_control_texts_that_begin_alike_is_cut_where_its_end_is_the_callers() -> (
    None
):
    pieces = control.pieces("<|im_end|>" + control.mark("<|im_start|>"))
    assert pieces == ("<|im_end|>", "<", "|im_start|>")


def test_thousands_of_control_texts_are_looked_for_at_once() -> None:
    many = ControlTexts(f"<unused{number}>" for number in range(6000))
    pieces = many.pieces(many.mark("<unused5999> <unused6000> <unused17>"))
    assert pieces == ("<", "unused5999> <unused6000> <", "unused17>")


def test_text_that_has_no_encoding_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not valid Unicode"):
        control.mark([f"a{MARK}b"])
