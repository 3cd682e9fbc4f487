"""Between text and a Whisper model's tokens: prompts for the decoder, words from its answers."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engines.recognition import Word

_SECONDS_A_FRAME = 0.02
"""Times from alignment count frames of the encoder's output."""

_TYPICAL_SECONDS = 0.7
"""A median above this is taken for a slow speaker's pauses."""
_SENTENCE_ENDS = ".?!。？！"  # noqa: RUF001


class Vocabulary:
    """The tokens of one model. An English one (`multilingual` false) has none for languages and
    tasks."""

    def __init__(self, directory: Path, *, multilingual: bool) -> None:
        from tokenizers import Tokenizer

        self.multilingual = multilingual
        try:
            self._tokens = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as error:  # its errors have no base but this one
            raise ValueError(f"its tokenizer.json cannot be read ({error})") from None
        self._splitters: dict[str, Any] = {}
        self.end = self._special("<|endoftext|>")
        self._start = self._special("<|startoftranscript|>")
        self._previous = self._special("<|startofprev|>")
        self._plain = self._special("<|notimestamps|>")

    def knows(self, language: str) -> bool:
        """Whether the model has a token for this ISO 639 code."""
        return self._tokens.token_to_id(f"<|{language}|>") is not None

    def head(self, language: str, task: str) -> list[int]:
        """What the decoder's text begins with: the start, the language and the task."""
        if not self.multilingual:
            return [self._start]
        return [self._start, self._special(f"<|{language}|>"), self._special(f"<|{task}|>")]

    def prompt(self, head: Sequence[int], hint: str, before: str, size: int) -> list[int]:
        """The decoder's prompt behind `head`: exactly `size` tokens of the user's `hint` and of
        what was said `before`, the latest of both; each has half of them if it needs it.

        Padded in front with the token that begins such text, so that prompts of one `size` have
        one length. Text never becomes a control token.
        """
        head = [*head, self._plain]
        if not size:
            return head
        hinted, told = (self.encode(f" {text.strip()}".rstrip()) for text in (hint, before))
        hinted = hinted[-max(size // 2, size - len(told)) :]
        told = [*hinted, *told[max(0, len(told) + len(hinted) - size) :]]
        return [*[self._previous] * (size + 1 - len(told)), *told, *head]

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, control tokens left out."""
        ids: list[int] = self._tokens.encode(text, add_special_tokens=False).ids
        return [token for token in ids if token < self.end]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, control tokens left out."""
        text: str = self._tokens.decode([token for token in tokens if token < self.end])
        return text

    def aligned(
        self,
        tokens: Sequence[int],
        alignments: Sequence[tuple[int, int]],
        probabilities: Sequence[float],
        language: str,
    ) -> list[Word]:
        """The words of `tokens` with the times at which the model attended to them.

        `alignments` are pairs of token index and encoder frame. Radford et al. 2022, section 4.
        """
        texts, pieces = self._splitter(language).split_to_word_tokens([*tokens, self.end])
        begins = _first_frames(alignments)
        words: list[Word] = []
        at = 0
        for text, piece in zip(texts[:-1], pieces[:-1], strict=True):
            following = at + len(piece)
            if following >= len(begins):
                break
            heard = probabilities[at:following]
            words.append(
                Word(
                    text,
                    begins[at] * _SECONDS_A_FRAME,
                    begins[following] * _SECONDS_A_FRAME,
                    sum(heard) / len(heard) if heard else None,
                )
            )
            at = following
        return _without_pauses(_joined(words))

    def _splitter(self, language: str) -> Any:
        splitter = self._splitters.get(language)
        if splitter is None:
            from faster_whisper.tokenizer import Tokenizer

            splitter = Tokenizer(self._tokens, self.multilingual, "transcribe", language)
            self._splitters[language] = splitter
        return splitter

    def _special(self, token: str) -> int:
        number: int | None = self._tokens.token_to_id(token)
        if number is None:
            raise ValueError(f"its tokenizer.json has no {token}")
        return number


def _first_frames(alignments: Sequence[tuple[int, int]]) -> list[int]:
    """The first frame of each token, by token index."""
    frames: list[int] = []
    for token, frame in alignments:
        if token >= len(frames):
            frames.append(frame)
    return frames


def _joined(pieces: Sequence[Word]) -> list[Word]:
    """Words as they are written: what stands together without a space is one word."""
    words: list[Word] = []
    for piece in pieces:
        text = piece.text.strip()
        if not text:
            continue
        if words and not piece.text.startswith(" "):
            before = words.pop()
            sure = [p for p in (before.probability, piece.probability) if p is not None]
            words.append(Word(before.text + text, before.start, piece.end, min(sure, default=None)))
        else:
            words.append(Word(text, piece.start, piece.end, piece.probability))
    return words


def _without_pauses(words: Sequence[Word]) -> list[Word]:
    """Words without the silence that alignment adds to them: behind the last word of a sentence,
    before any other. A word is taken to last at most twice the median of its neighbours.

    OpenAI's Whisper does so too (`timing.py`), with the same factor and bounds.
    """
    if not words:
        return []
    median = statistics.median(word.end - word.start for word in words)
    longest = 2 * min(_TYPICAL_SECONDS, median) or _TYPICAL_SECONDS
    return [_shortened(word, longest) for word in words]


def _shortened(word: Word, longest: float) -> Word:
    if word.end - word.start <= longest:
        return word
    if word.text[-1] in _SENTENCE_ENDS:
        return replace(word, end=word.start + longest)
    return replace(word, start=word.end - longest)


def spread(text: str, start: float, end: float) -> list[Word]:
    """The words of a text with times in proportion to their letters, from `start` to `end`."""
    texts = text.split()
    letters = sum(len(word) + 1 for word in texts)
    words: list[Word] = []
    at = start
    for word in texts:
        until = at + (end - start) * (len(word) + 1) / letters
        words.append(Word(word, round(at, 3), round(until, 3)))
        at = until
    return words
