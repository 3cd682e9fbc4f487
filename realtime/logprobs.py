"""The log-probabilities of a transcript, as OpenAI's events carry them."""

import math
import sys
from collections.abc import Sequence
from typing import Any

from engines.recognition import Word


def logprobs_of(words: Sequence[Word]) -> list[dict[str, Any]] | None:
    """One entry for each word; None if the engine gave no probability for one of them.

    A token is a word with the space before it, so that the tokens add up to the transcript.
    """
    entries: list[dict[str, Any]] = []
    for word in words:
        if word.probability is None:
            return None
        token = f" {word.text}" if entries else word.text
        # JSON has no minus infinity, which the logarithm of nothing would be.
        probability = min(1.0, max(sys.float_info.min, word.probability))
        entry = {"token": token, "logprob": math.log(probability), "bytes": list(token.encode())}
        entries.append(entry)
    return entries
