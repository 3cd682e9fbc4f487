# ruff: noqa: RUF001 - typographic marks are meant as they stand
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipelines.sentences import SentenceSplitter
from pipelines.spoken_text import Aligned, list_number, say

MARKDOWN = [
    ("Plain words.", "Plain words."),
    ("**bold** and *italic*", "bold and italic"),
    ("__bold__ and _italic_", "bold and italic"),
    ("***both*** of it", "both of it"),
    ("un**believ**able", "unbelievable"),
    ("这是*重点*内容", "这是重点内容"),
    ("~~gone~~ here", "gone here"),
    ("an **open mark", "an open mark"),
    ("a closing mark** here", "a closing mark here"),
    ("*open", "open"),
    ("2 * 3 = 6", "2 * 3 = 6"),
    ("2*3", "2*3"),
    ("snake_case_name", "snake_case_name"),
    ("__init__ it", "init it"),
    ("# Title", "Title"),
    ("### Title ###", "Title"),
    ("C# is a language", "C# is a language"),
    ("#hashtag", "#hashtag"),
    ("- item", "item"),
    ("* item", "item"),
    ("+ item", "item"),
    ("• item", "item"),
    ("  - nested", "nested"),
    ("- [ ] open", "open"),
    ("- [x] done", "done"),
    ("-5 degrees", "-5 degrees"),
    ("> quoted\n> on", "quoted on"),
    ("> > deep", "deep"),
    ("> - item", "item"),
    ("---", ""),
    ("***", ""),
    ("_ _ _", ""),
    ("Title\n=====", "Title"),
    ("[text](https://example.com/a?b=c)", "text"),
    ('[text](https://example.com "A title")', "text"),
    ("[a **b** c](x)", "a b c"),
    ("[text](https://en.wikipedia.org/wiki/A_(b))", "text"),
    ("[text][ref] here", "text here"),
    ("[ref]: https://example.com 'Title'", ""),
    ("[Bob]: hello", "[Bob]: hello"),
    ("[text](https://exam", "text"),
    ("![a cat](cat.png)", "a cat"),
    ("![](cat.png) here", "here"),
    ("[![alt](a.png)](https://b.org)", "alt"),
    ("<https://example.com/a>", "example.com"),
    ("see https://www.example.com/a/b.html?c=d#e.", "see example.com."),
    ("see http://localhost:8000/v1, please", "see localhost, please"),
    ("see www.example.org/a now", "see example.org now"),
    ("(https://example.com/a)", "(example.com)"),
    ("见https://example.com/a。好", "见example.com。好"),
    ("jo@example.com writes", "jo@example.com writes"),
    ("[jo](mailto:jo@example.com)", "jo"),
    ("run `main.py` now", "run main.py now"),
    ("run ``a ` b`` now", "run a b now"),
    ("an `open one", "an open one"),
    ("so it is.[^1] Yes", "so it is. Yes"),
    ("[^1]: the note", "the note"),
    ("a &amp; b &lt;c&gt; &#65;&nbsp;d", "a & b <c> A d"),
    ("AT&T is not &entity", "AT&T is not &entity"),
    ("a<br>b<br/>c", "a b c"),
    ("<b>bold</b> and <a href='x'>link</a>", "bold and link"),
    ("before <!-- not this --> after", "before after"),
    ("a < b and c > d", "a < b and c > d"),
    ("if a <b and c> d", "if a <b and c> d"),
    (r"\*not italic\* \$5", "not italic 5 dollars"),
    (r"1\. no list", "1. no list"),
    ("Great \U0001f600!", "Great!"),
    ("\U0001f44d\U0001f3fd Good", "Good"),
    ("Family \U0001f468\u200d\U0001f469\u200d\U0001f467 here", "Family here"),
    ("Flag \U0001f1e9\U0001f1ea.", "Flag."),
    ("\u2764\ufe0f love", "love"),
    ("1\ufe0f\u20e3 one", "1 one"),
    ("\U0001f600", ""),
    ("क्\u200dष है", "क्\u200dष है"),
    ("a | b", "a, b"),
    ("too   many\n\tspaces ", "too many spaces"),
    ("...", ""),
    ("?!", ""),
    ("20 °C, 50%, 10–12", "20 °C, 50%, 10–12"),
]

MONEY = [
    ("$3.50", "3 dollars and 50 cents"),
    ("$29.95 each", "29 dollars and 95 cents each"),
    ("$1", "1 dollar"),
    ("$1.01", "1 dollar and 1 cent"),
    ("$0.50", "50 cents"),
    ("$0", "0 dollars"),
    ("$0.00", "0 dollars"),
    ("$5.00", "5 dollars"),
    ("$1,000", "1,000 dollars"),
    ("$1,000,000.25", "1,000,000 dollars and 25 cents"),
    ("$5 million", "5 million dollars"),
    ("$1.2 billion.", "1.2 billion dollars."),
    ("$5k", "5 thousand dollars"),
    ("$1.5M a year", "1.5 million dollars a year"),
    ("$3.5", "3.5 dollars"),
    ("-$5", "-5 dollars"),
    ("$5, $6, or $7.", "5 dollars, 6 dollars, or 7 dollars."),
    ("($5)", "(5 dollars)"),
    ("$5/month", "5 dollars/month"),
    ("£1", "1 pound"),
    ("£2.01", "2 pounds and 1 penny"),
    ("£0.99", "99 pence"),
    ("€10", "10 euros"),
    ("€1.50", "1 euro and 50 cents"),
    ("$HOME", "$HOME"),
    ("$x and $y1", "$x and $y1"),
    ("US$5", "US$5"),
]


def said(piece: str, language: str | None = None, *, row: bool = False, item: bool = False) -> str:
    return say(piece, language=language, begins_line=True, row=row, item=item).text


@pytest.mark.parametrize(("piece", "words"), MARKDOWN)
def test_markup_is_not_said(piece: str, words: str) -> None:
    assert said(piece) == words


@pytest.mark.parametrize(("piece", "words"), MONEY)
def test_money_is_said_in_english(piece: str, words: str) -> None:
    assert said(piece) == words
    assert said(piece, "en-GB") == words


@pytest.mark.parametrize("piece", ["$3.50", "€5", "£1"])
def test_money_is_left_as_it_is_in_other_languages(piece: str) -> None:
    assert said(piece, "de") == piece


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        ("| a | b |\n", "a, b"),
        ("|a|b|", "a, b"),
        ("| **a** | $2 |", "a, 2 dollars"),
        ("|---|:-:|", ""),
        ("| a | b", "a, b"),
        ("| a |  | c |", "a, c"),
    ],
)
def test_cells_of_a_row_are_said_with_commas(piece: str, words: str) -> None:
    assert said(piece, row=True) == words


@pytest.mark.parametrize(
    ("piece", "number"),
    [("1. a", 1), ("12) b", 12), (" 3. c", 3), ("2024. d", None), ("1.5", None)],
)
def test_the_number_of_an_item_is_found_and_not_said(piece: str, number: int | None) -> None:
    assert list_number(piece) == number
    if number is not None:
        assert said(piece, item=True) == piece[-1]
        assert said(piece) == piece.strip()


@pytest.mark.parametrize("piece", ["- item", "# 5", "> more", "---a"])
def test_marks_of_lines_are_words_within_a_line(piece: str) -> None:
    assert say(piece, language=None, begins_line=False, row=False, item=False).text == piece


DOCUMENTS = [
    "# Title\n\nSome **bold** and *thin* text with `code` in it.\n\n- one\n- two *three*\n",
    "1. First [link](https://a.org/b_c) here\n2. Second ![image](i.png) there\n",
    "> A quote with __weight__\n> on two lines.\n\nAfter &amp; before.\n\n***\n\nEnd.\n",
    "Before.\n\n```py\nx = 1\n```\n\nAfter ~~not~~ code.\n\n| a | b |\n|---|---|\n| c | d |\n",
    "A title\n=======\n\nText with [a **bold** link](<x> 't') and <b>tags</b>.\n",
    "- item one\n  goes on\n- item\n\n  ```\n  code\n  ```\n- last\n",
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_words_said_are_those_a_markdown_parser_finds(document: str) -> None:
    splitter = SentenceSplitter()
    spoken = [sentence.spoken for sentence in splitter.feed(document) + splitter.flush()]
    tokens = MarkdownIt().enable(["table", "strikethrough"]).parse(document)
    expected = " ".join(_texts(tokens))
    assert re.findall(r"\w+", " ".join(spoken)) == re.findall(r"\w+", expected)


def _texts(tokens: list[Token]) -> list[str]:
    found = []
    for token in tokens:
        if token.type in ("text", "code_inline"):
            found.append(token.content)
        found.extend(_texts(token.children or []))
    return found


@given(st.text(max_size=80), st.booleans(), st.booleans())
def test_places_are_in_the_piece_and_never_go_back(piece: str, row: bool, item: bool) -> None:
    found = say(piece, language=None, begins_line=True, row=row, item=item)
    assert len(found.ends) == len(found.text)
    assert list(found.ends) == sorted(found.ends)
    assert all(0 <= end <= len(piece) for end in found.ends)


def test_a_run_of_skin_tones_is_left_out_in_no_time() -> None:
    began = time.process_time()
    found = say(
        "Hi \U0001f3fd" + "\U0001f3fd" * 25 + "a.",
        language=None,
        begins_line=True,
        row=False,
        item=False,
    )
    assert found.text == "Hi a."
    assert time.process_time() - began < 1


def test_a_replacement_spreads_over_the_place_it_takes() -> None:
    found = Aligned.of("ab1234cd").sub(re.compile(r"\d+"), lambda _: "xy")
    assert (found.text, found.ends) == ("abxycd", (1, 2, 4, 6, 7, 8))


def test_a_kept_group_keeps_its_places() -> None:
    found = Aligned.of("a[bc]d").sub(re.compile(r"\[(\w+)\]"), lambda _: 1)
    assert (found.text, found.ends) == ("abcd", (1, 3, 4, 6))
