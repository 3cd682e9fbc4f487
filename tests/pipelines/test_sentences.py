# ruff: noqa: RUF001 - the marks of other scripts are meant as they stand
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sentences import Sentence, SentenceSplitter, marks_to_text

# Each case is the sentences as they are to come: joined, they are the text.
ENGLISH = [
    ["Hello there. ", "How are you?"],
    ["Yes. ", "OK. ", "Let us go."],
    ["It costs $29.95 today. ", "Buy it."],
    ["Pi is 3.14 or so. ", "Not more."],
    ["Fruit, e.g. Apples, is good. ", "Eat it."],
    ["One of them, i.e. the last, is red. ", "See?"],
    ["Dr. Smith is in. ", "Mrs. Jones is not."],
    ["Ask Prof. Lee. ", "She knows."],
    ["Mr. and Mrs. Brown came. ", "They left."],
    ["St. Louis is big. ", "So is Mt. Whitney."],
    ["The U.S. Army is large. ", "It grew."],
    ["He lives in the U.S. ", "She does not."],
    ["The U.S. has states. ", "Fifty."],
    ["The U.S. 50 years ago. ", "Long."],
    ["J. R. R. Tolkien wrote it. ", "We read it."],
    ["George W. Bush won. ", "Then he lost."],
    ["It was plan B. ", "It failed."],
    ["It has vitamin C. ", "You need it."],
    ["See No. 5 there. ", "Good."],
    ["No. ", "I mean it."],
    ["No. ", "The answer is no."],
    ["See fig. 3 and pp. 4 to 5. ", "Done."],
    ["Apples, pears, etc. are fruit. ", "Eat."],
    ["Apples, pears, etc. ", "They are fruit."],
    ["He works at Acme Inc. in town. ", "He likes it."],
    ["He works at Acme Inc. ", "She does too."],
    ["Martin Luther King Jr. spoke. ", "We heard."],
    ["Come at 5 p.m. today. ", "Bring food."],
    ["Come at 5 p.m. ", "We eat then."],
    ["Come at 5 p.m. Monday. ", "Bye."],
    ["She has a Ph.D. in law. ", "Wow."],
    ["Washington, D.C. is hot. ", "Very."],
    ["It was Smith vs. Jones. ", "Jones won."],
    ["Well... that is odd. ", "Yes."],
    ["Well... ", "That is odd."],
    ["Well... I think so. ", "Yes."],
    ["Hm… maybe not. ", "No."],
    ["Wait... ", "Isn't it?"],
    ["What?! ", "No way!"],
    ["What?!?! ", "Stop!!!"],
    ["See https://example.com/a.b?c=d.e for it. ", "Bye."],
    ["Go to www.example.com. ", "Then log in."],
    ["Is it https://example.com/? ", "Yes."],
    ["Write to jo.do@mail.example.org. ", "She reads."],
    ["Run main.py now. ", "Wait."],
    ["Edit main.py. ", "Save it."],
    ["Use Node.js 20.1.3 here. ", "Not 19."],
    ["It is version 1.2.3. ", "Next is 2."],
    ["It began at 10.30. ", "It ended."],
    ["The year is 2024. ", "It rains."],
    ["It costs 1,000.50 in all. ", "Pay."],
    ['He said "Go." ', "Then he left."],
    ['"Why?" she asked. ', "He knew."],
    ['"Go!" he said. ', "I went."],
    ['"Go!" ', "He went."],
    ["She said “Stop.” ", "We did."],
    ["‘Yes.’ ", "No."],
    ["It works (see below.) ", "Good."],
    ["It works (really!) and well. ", "Good."],
    ["(It works.) ", "[It does.] ", "Good."],
    ["He left. ", '"Why?"'],
    ["He left. ", "(I stayed.)"],
    ["It is so.[1] ", "Others agree.[^2] ", "Fine."],
    ["Great! ", "\U0001f600 Let us go."],
    ["Hello.\n", "World."],
    ["Hello.\n", "\nWorld."],
    ["Hello.\r", "\nWorld."],
    ["A line without a stop\n", "Another line"],
    ["One paragraph\n", "\nAnother one"],
    ["This is a line that was broken because it was full\nand goes on here. ", "Yes."],
    ["This is a line that was broken because it was full,\nBerlin goes on here. ", "Yes."],
    ["A short line that\ngoes on. ", "Yes."],
    ["Ask Dr.\nSmith. ", "Now."],
    ["7.\n", "Next."],
    ["Roman Louis XIV was king. ", "Then XV."],
    ["It is 20 °C. ", "Warm."],
    ["Use the .NET way. ", "Or not."],
    ["About .5 of it. ", "Half."],
    ["Yahoo! ", "It works."],
    ["Is it? ", "it is."],
    ["End of it.\t", "Tab."],
]

MARKDOWN = [
    ["# A title\n", "Text."],
    ["# A title\n", "\nText."],
    ["## What is it? ", "A title\n", "Text."],
    ["A title\n", "=====\n", "Text."],
    ["- one\n", "- two\n", "- three"],
    ["- One. ", "More of one.\n", "- Two."],
    ["* one\n", "* two\n"],
    ["• one\n", "• two\n"],
    ["1. First\n", "2. Second\n", "3. Third"],
    ["1. First.\n", "2. Second."],
    ["1) First\n", "2) Second"],
    ["10. Tenth\n", "11. Eleventh"],
    ["Here it is:\n", "- one\n", "- two"],
    ["Here it is:\n", "\n1. one\n", "2. two"],
    ["- an item that\n  goes on\n", "- two"],
    ["- [ ] open\n", "- [x] done\n"],
    ["> A quote\n> that goes on. ", "Yes."],
    ["> A quote.\n", "> Another."],
    ["**Bold.** ", "Then."],
    ["**Note:** it is so. ", "Yes."],
    ["It is **so. ", "And** so."],
    ["*Really?* ", "Yes."],
    ["Call `a. B` first. ", "Then go."],
    ["Use `main.py`. ", "Then go."],
    ["See [this. That](https://example.com/a) first. ", "Go."],
    ["See [this](https://example.com). ", "Go."],
    ["Before\n", "```py\n", "x = 1. Y\n", "```\n", "After."],
    ["Before.\n", "\n```\n", "a\n", "\n", "```\n", "\nAfter."],
    ["~~~\n", "a ``` b. c\n", "~~~\n", "After."],
    ["```\n", "never. closed\n", "at all"],
    ["````\n", "```\n", "````\n", "After."],
    ["| a | b |\n", "|---|---|\n", "| c. D | e! F |\n", "\nAfter."],
    ["a | b\n", "--- | ---\n", "c | d\n"],
    ["One\n", "\n---\n", "\nTwo"],
    ["Text.[^1]\n", "\n[^1]: A note."],
    ["A <b>bold. ", "Word</b> here."],
    ["Lead in\n", "**Next:** more"],
    ["`code` begins. ", "A line."],
    ["It is 2 * 3. ", "Six."],
]

LANGUAGES = [
    ("zh", ["你好。", "今天好吗？", "很好！"]),
    ("zh", ["“走吧。”", "他说。"]),
    ("zh", ["真的吗?", "是的!", "好."]),
    ("zh", ["你好。 ", "再见。"]),
    ("zh", ["什么？！", "不。"]),
    ("zh", ["他说（真的。）", "好。"]),
    ("zh", ["他来了。", "“走吧。”", "他说。"]),
    ("zh", ["**你好。**", "再见。"]),
    ("zh", ["你好。", "**再见。**"]),
    ("zh", ["圆周率是3.14。", "对。"]),
    ("ja", ["「行こう。」と言った。", "はい。"]),
    ("ja", ["元気ですか？", "はい、元気です。"]),
    ("ja", ["すごい！！", "本当。"]),
    ("ko", ["안녕하세요. ", "반갑습니다."]),
    ("ar", ["كيف حالك؟ ", "أنا بخير."]),
    ("ur", ["یہ ہے۔ ", "وہ ہے۔"]),
    ("hi", ["यह घर है। ", "वह कार है।"]),
    ("es", ["¿Qué tal? ", "¡Muy bien! ", "Gracias."]),
    ("es", ["El Sr. Pérez vino. ", "La Sra. López no."]),
    ("es", ["Vive en EE.UU. desde 1990. ", "Es feliz."]),
    ("es", ["Frutas, p.ej. Manzanas. ", "Son buenas."]),
    ("de", ["Am 3. Oktober ist frei. ", "Schön."]),
    ("de", ["Der 2. Weltkrieg war lang. ", "Ja."]),
    ("de", ["Ich bin 25. ", "Das ist jung."]),
    ("de", ["Das war 1990. ", "Es regnete."]),
    ("de", ["Es gibt z.B. Äpfel. ", "Und Birnen."]),
    ("de", ["Es gibt z. B. Äpfel. ", "Und Birnen."]),
    ("de", ["Das heißt, d. h. morgen. ", "Gut."]),
    ("de", ["Herr Dr. Müller kommt. ", "Frau Prof. Klein nicht."]),
    ("de", ["Er kam ca. 10 Minuten zu spät. ", "Schade."]),
    ("de", ["Siehe Nr. 5 und Abs. 3 dort. ", "Ende."]),
    ("de", ["Äpfel, Birnen usw. sind da. ", "Gut."]),
    ("de", ["Äpfel, Birnen usw. ", "Gut."]),
    ("de", ["Das kostet 3,50 Euro. ", "Gut."]),
    ("de", ["Er sagte: „Geh.“ ", "Dann ging er."]),
    ("de", ["»Geh.« ", "Dann ging er."]),
    ("de", ["Ludwig XIV. war König. ", "Ja."]),
    ("fr", ["Bonjour ! ", "Ça va ? ", "Oui."]),
    ("fr", ["Bonjour\u00a0! ", "Ça va\u202f?"]),
    ("fr", ["« Bonjour. » ", "Il partit."]),
    ("fr", ["« Bonjour ! » dit-il. ", "Oui."]),
    ("fr", ["M. Dupont et Mme. Petit. ", "Bien."]),
    ("fr", ["Des fruits, p. ex. des pommes. ", "Bien."]),
    ("it", ["Il sig. Rossi è qui. ", "Bene."]),
    ("es", ["Frutas, p. ej. manzanas. ", "Bien."]),
    ("it", ["Mele, pere, ecc. sono buone. ", "Sì."]),
    ("pt", ["O Sr. Silva veio. ", "A Sra. Lima não."]),
    ("nl", ["Dhr. Jansen is er. ", "Mevr. Bakker niet."]),
    ("nl", ["Fruit, bijv. Appels. ", "Lekker."]),
    ("pl", ["To jest np. Kraków. ", "Tak."]),
    ("ru", ["Это напр. Москва. ", "Да."]),
    ("ru", ["Это я. ", "Привет!"]),
    ("en-US", ["Tell me. ", "Come on. ", "OK."]),
    (None, ["Tell me. ", "Come on. ", "OK. ", "It is 5 mm. ", "Good."]),
    (None, ["Am 3. Oktober ist frei. ", "Schön."]),
    (None, ["I am 5. ", "You are 6. ", "We are not."]),
    (None, ["Robert J. De Niro came. ", "Fine."]),
    ("xx", ["Dr. Smith. ", "Yes."]),
]


def split(text: str, **options: object) -> list[Sentence]:
    splitter = SentenceSplitter(**options)  # type: ignore[arg-type]
    return splitter.feed(text) + splitter.flush()


def split_in(pieces: list[str], **options: object) -> list[Sentence]:
    splitter = SentenceSplitter(**options)  # type: ignore[arg-type]
    return [sentence for piece in pieces for sentence in splitter.feed(piece)] + splitter.flush()


CASES = [(None, case) for case in ENGLISH + MARKDOWN] + LANGUAGES


@pytest.mark.parametrize(("language", "sentences"), CASES, ids=lambda value: str(value)[:60])
def test_a_text_is_cut_between_its_sentences(language: str | None, sentences: list[str]) -> None:
    text = "".join(sentences)
    assert [found.text for found in split(text, language=language, first=999)] == sentences


@pytest.mark.parametrize("sentences", ENGLISH, ids=lambda value: str(value)[:60])
def test_english_is_cut_the_same_when_the_language_is_known(sentences: list[str]) -> None:
    text = "".join(sentences)
    assert [found.text for found in split(text, language="en", first=999)] == sentences


@pytest.mark.parametrize(("language", "sentences"), CASES, ids=lambda value: str(value)[:60])
def test_text_that_comes_one_character_at_a_time_is_cut_the_same(
    language: str | None, sentences: list[str]
) -> None:
    text = "".join(sentences)
    assert split_in(list(text), language=language) == split(text, language=language)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        (None, "Hello there. "),
        (None, "Hello there.\n"),
        (None, "Really? "),
        (None, "Stop! "),
        (None, "**Done.** "),
        (None, "It is 2024. "),
        ("en", "It is 25. "),
        (None, "你好。今"),
        (None, "# Title\n"),
        (None, "| a | b |\n"),
        (None, "It is so.[1] B"),
        (None, 'He said "Go." T'),
        (None, "No. I"),
        (None, "Well... T"),
        (None, "It was plan B. It "),
        (None, "- one\n- "),
        (None, "Text\n\n"),
        (None, "x\n```"),
    ],
)
def test_a_sentence_is_let_go_with_the_character_that_makes_it_certain(
    language: str | None, text: str
) -> None:
    splitter = SentenceSplitter(language=language)
    assert splitter.feed(text[:-1]) == []
    assert len(splitter.feed(text[-1])) >= 1


@pytest.mark.parametrize("text", ["Dr. ", "e.g. ", "He is at Acme Inc. ", "$29.", "3.", "Hm... "])
def test_nothing_is_let_go_while_more_could_belong_to_it(text: str) -> None:
    assert SentenceSplitter().feed(text) == []


def test_the_first_thing_said_may_end_with_a_clause_when_it_is_long() -> None:
    text = "Here is a short story about a fox that lived in the deep, dark woods, and a hen, "
    splitter = SentenceSplitter(first=40)
    assert [found.text for found in splitter.feed(text)] == [
        "Here is a short story about a fox that lived in the deep, "
    ]
    assert [found.text for found in splitter.feed("which, as it were, was there. ")] == [
        "dark woods, and a hen, which, as it were, was there. "
    ]


@pytest.mark.parametrize("mark", [", ", "; ", ": ", " - ", " – ", "— "])
def test_each_mark_of_a_clause_lets_the_first_one_go(mark: str) -> None:
    said = SentenceSplitter(first=10).feed(f"Some words here{mark}more")
    assert [found.text for found in said] == [f"Some words here{mark}"]


@pytest.mark.parametrize(
    "text", ["It is 1,000,000 and more", "At 12:30:45 or so", "A well-known one"]
)
def test_marks_inside_words_and_numbers_end_no_clause(text: str) -> None:
    assert SentenceSplitter(first=3).feed(text) == []


def test_a_clause_without_spaces_counts_its_characters_as_more() -> None:
    said = SentenceSplitter(first=30).feed("今天的天气非常好我们，一起去公园")
    assert [found.text for found in said] == ["今天的天气非常好我们，"]


def test_a_short_first_sentence_is_not_held_back() -> None:
    assert [found.text for found in SentenceSplitter().feed("Yes. ")] == ["Yes. "]


def test_code_is_not_the_first_thing_said() -> None:
    splitter = SentenceSplitter(first=10)
    splitter.feed("```\ncode\n```\n")
    assert [found.text for found in splitter.feed("Some words here, more")] == ["Some words here, "]


def test_what_is_too_long_is_cut_at_a_clause_or_else_at_a_space() -> None:
    words = "word " * 30
    clause = f"{words[:60]}, "
    assert split(clause + words, longest=100, first=999)[0].text == clause
    pieces = [found.text for found in split(words, longest=62, first=999)]
    assert all(piece.endswith(" ") for piece in pieces)
    assert max(map(len, pieces)) == 60
    assert [len(found.text) for found in split("x" * 70, longest=30)] == [30, 30, 10]


def test_the_rest_of_an_address_that_is_cut_is_not_said() -> None:
    long = "https://www.example.com/" + "abc/" * 100
    said = [found.spoken for found in split(f"See {long} and [this]({long}) now. Bye.", longest=80)]
    assert " ".join(filter(None, said)) == "See example.com and this now. Bye."


def test_markup_that_is_open_at_the_end_of_a_sentence_is_not_said() -> None:
    said = split("This is **bold. And more** of it. Now *this. Is* it. A `b. ")
    assert [found.spoken for found in said] == [
        "This is bold.",
        "And more of it.",
        "Now this.",
        "Is it.",
        "A b.",
    ]


def test_code_is_not_said_and_what_follows_it_is() -> None:
    text = "Do this:\n\n```py\nprint('Hi. There')\n# A title\n```\n\nThat prints it."
    assert [found.spoken for found in split(text) if found.spoken] == [
        "Do this:",
        "That prints it.",
    ]


def test_numbers_of_a_list_are_not_said_but_answers_are() -> None:
    assert [found.spoken for found in split("1. One\n2. Two\n\n1. A\n2. B")] == [
        "One", "Two", "A", "B",
    ]  # fmt: skip
    assert [found.spoken for found in split("7. That is the answer.")] == ["7. That is the answer."]
    assert [found.spoken for found in split("42.")] == ["42."]
    assert [found.spoken for found in split("3. Oktober.", language="de")] == ["3. Oktober."]


def test_a_table_is_said_row_by_row() -> None:
    text = "| Name | Price |\n|:-----|------:|\n| Tea. Hot | $2 |\n"
    assert [found.spoken for found in split(text)] == ["Name, Price", "", "Tea. Hot, 2 dollars"]


MARKS = """. .. ... … ? ! 。 ， 「 」 " “ ” « » ( ) [ ] ]( ` ``` ~~~ * ** _ - # > | |---| : ; — é
    ß 你 好 1. 12 3. Dr. e.g. U.S. J. No. The I etc. word Word z.B. St &amp; <b> $3.50 www.x.org
    http://a.bc/ [^1] --- \U0001f600"""
PIECES = st.one_of(
    st.sampled_from(MARKS.split()),
    st.sampled_from([" ", "  ", "\n", "\n\n", "\r\n", "\t", "\u00a0"]),
    st.sampled_from([". ", "? ", "```\n", "~~~\n", "|\n", "J. ", " - ", "1. ", "a. ", ", "]),
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=60).map("".join))
LANGUAGE = st.sampled_from([None, "en", "de", "fr", "zh"])


def cut(text: str, places: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[begin:end] for begin, end in pairwise(edges)]


@settings(deadline=None, max_examples=300)
@given(
    TEXTS,
    st.lists(st.integers(0, 500), max_size=20),
    LANGUAGE,
    st.integers(1, 40),
    st.integers(3, 90),
)
def test_sentences_are_the_text_however_it_comes_and_none_is_too_long(
    text: str, places: list[int], language: str | None, longest: int, first: int
) -> None:
    sentences = split_in(cut(text, places), language=language, longest=longest, first=first)
    assert "".join(found.text for found in sentences) == text
    assert all(0 < len(found.text) <= longest for found in sentences)
    assert sentences == split(text, language=language, longest=longest, first=first)


@settings(deadline=None, max_examples=200)
@given(TEXTS, LANGUAGE)
def test_text_that_comes_by_characters_gives_the_same_sentences(
    text: str, language: str | None
) -> None:
    assert split_in(list(text), language=language) == split(text, language=language)


@settings(deadline=None, max_examples=200)
@given(TEXTS)
def test_marks_never_go_back_and_end_with_the_whole_text(text: str) -> None:
    for found in split(text):
        places = [marks_to_text(found, n) for n in range(len(found.spoken) + 1)]
        assert places == sorted(places)
        assert places[0] >= 0
        assert places[-1] == len(found.text)
        assert len(found.ends) == len(found.spoken)


def test_marks_are_exact_beside_markup() -> None:
    [found] = split("See **the [big](https://example.com) house** for $3.50 now.")
    assert found.spoken == "See the big house for 3 dollars and 50 cents now."
    for word in ("See", "the", "big", "house", "for", "now"):
        said = marks_to_text(found, found.spoken.index(word) + len(word))
        assert found.text[:said].endswith(word)
    assert 43 < marks_to_text(found, found.spoken.index("50")) <= found.text.index(" now")


def test_marks_of_a_sentence_without_places_go_by_length() -> None:
    sentence = Sentence(text="x" * 20, spoken="y" * 10)
    assert [marks_to_text(sentence, n) for n in (-1, 0, 5, 10, 99)] == [0, 0, 10, 20, 20]
    assert marks_to_text(Sentence(text="---\n", spoken=""), 0) == 4


@pytest.mark.parametrize(
    "unit",
    ["x", ".", ". ", "`", "[", "[a](", "*", "Dr. ", "\n", " ", "|", "a. ", "<", "1. ", '。"', "_a"],
)
def test_the_time_grows_with_the_text_whatever_it_is(unit: str) -> None:
    def seconds(count: int) -> float:
        text = unit * (count // len(unit))
        began = time.process_time()
        split(text)
        return time.process_time() - began

    seconds(2_000)
    short, long = min(seconds(5_000) for _ in range(3)), seconds(40_000)
    assert long < 24 * short + 0.05


@pytest.mark.parametrize("unit", [".", "x"])
def test_a_hundred_thousand_characters_one_by_one_take_little_time(unit: str) -> None:
    began = time.process_time()
    sentences = split_in([unit] * 100_000)
    assert time.process_time() - began < 5
    assert sum(len(found.text) for found in sentences) == 100_000


def test_a_limit_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        SentenceSplitter(longest=0)
