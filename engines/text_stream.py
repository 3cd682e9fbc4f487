"""Text from the bytes of tokens, as far as it is certain: whole characters that belong to no stop
text."""

import codecs
from collections.abc import Sequence


class TextStream:
    """Bytes in, text out, up to the first of `stops`: the one that is complete first, and of those
    that end at the same character the longest. However the bytes are cut, the text is the same.

    Takes time in proportion to the text, whatever the stops (Knuth, Morris and Pratt's search).
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        # The longest first: it is the one found where several end at the same character.
        self._searches = [
            _Search(stop) for stop in sorted(set(stops), key=len, reverse=True) if stop
        ]
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped: str | None = None
        """The stop text that ended it."""

    def feed(self, piece: bytes) -> str:
        """The characters that cannot be part of a stop text any more; after a stop, none."""
        return self._certain(self._decoder.decode(piece))

    def finish(self) -> str:
        """What was held back. An incomplete character becomes U+FFFD."""
        text = self._certain(self._decoder.decode(b"", final=True)) + self._held
        self._held = ""
        return text

    def _certain(self, text: str) -> str:
        if self.stopped is not None:
            return ""
        if not self._searches:
            return text
        whole = self._held + text
        for place, character in enumerate(text, len(self._held) + 1):
            for search in self._searches:
                if search.ends_with(character):
                    self.stopped = search.text
                    self._held = ""
                    return whole[: place - len(search.text)]
        keep = len(whole) - max(search.matched for search in self._searches)
        self._held = whole[keep:]
        return whole[:keep]


class _Search:
    """Where one stop text is: `matched` characters at the end of what was seen begin it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.matched = 0
        self._shorter = _borders(text)

    def ends_with(self, character: str) -> bool:
        """Whether the text is complete with `character`, the next one."""
        while self.matched and self.text[self.matched] != character:
            self.matched = self._shorter[self.matched - 1]
        if self.text[self.matched] == character:
            self.matched += 1
        return self.matched == len(self.text)


def _borders(text: str) -> list[int]:
    """For each beginning of `text`, how many of its last characters begin `text` too."""
    borders = [0] * len(text)
    length = 0
    for place in range(1, len(text)):
        while length and text[place] != text[length]:
            length = borders[length - 1]
        if text[place] == text[length]:
            length += 1
        borders[place] = length
    return borders
