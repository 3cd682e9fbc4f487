"""Chooses tokens: llama.cpp's samplers, one chain for each answer, and the grammar it has to fit.

llama.cpp ends the process on a sampler that it could not make, on a place of the batch without
logits and on a token that the grammar forbids, so each is checked before.
"""

import ctypes
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engines.base import EngineError, InvalidInput
from engines.generation import Sampling
from engines.grammars import Grammar

LEAST_LOGPROB: Final = -9999.0
"""What OpenAI gives for a token that is all but impossible."""

_REPEATS_SEEN: Final = 64
"""Tokens back to which the repeat penalty looks, llama.cpp's own choice."""

_PENALISED: Final = 1 << 17
"""Tokens back to which the other penalties count: all that an answer has."""

_NUCLEUS: Final = 2048
"""Tokens that `top_p` alone chooses from, the most probable ones. Without a bound llama.cpp sorts
the vocabulary where a model is undecided: up to 40 ms for 150,000 tokens, 0.5 with it. Where these
are 99.9 % of the probability, 0.95 of them is 0.949 of all."""

_FULL_BIAS: Final = 100.0
_DECISIVE: Final = 1e4
"""A bias of 100 and more forces a token and -100 bans it, whatever the logits and temperature."""

_TOKEN_DATA: Final = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""`llama_token_data`."""

_Candidates = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Sampled:
    """The token chosen, the logarithm of its probability if asked for, and the most probable ones
    with theirs, the first first."""

    token: int
    logprob: float | None
    top: tuple[tuple[int, float], ...]


class Sampler:
    """Chooses the tokens of one answer. `model` is a `llama_model` pointer; `logprobs` None: none,
    else so many alternatives.

    The same seed makes the same choices, whatever is computed beside them, and goes on with them
    after `seen`. Log-probabilities are the model's own, before temperature, penalties and bias.
    Raises `InvalidInput`.
    """

    def __init__(
        self, model: Any, sampling: Sampling, grammar: Grammar | None, logprobs: int | None
    ) -> None:
        import llama_cpp

        self._llama = llama_cpp
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self._size = int(llama_cpp.llama_vocab_n_tokens(self._vocab))
        self._logprobs = logprobs
        with ExitStack() as made:
            links = _Links(llama_cpp, self._size, made)
            self._chain = links.chain(sampling)
            self._dice = links.dice
            self._rules = None if grammar is None else _Rules(llama_cpp, self._vocab, grammar, made)
            self._blank = _blank(0 if grammar is None else self._size)
            self._owned: ExitStack | None = made.pop_all()

    def sample(self, context: Any, index: int) -> Sampled:
        """Choose by the logits at `index` of the last batch, and remember the choice."""
        view = self._llama.llama_get_logits_ith(context, index)
        if not view:
            raise EngineError(f"There are no logits at {index} of the batch.")
        if self._rules is None:
            token = int(self._llama.llama_sampler_sample(self._chain, context, index))
        else:
            token = self._fitting(self._rules, self._read(view))
            self._llama.llama_sampler_accept(self._chain, token)
        if self._logprobs is None:
            return Sampled(token, None, ())
        return _measured(self._read(view), token, self._logprobs)

    def seen(self, tokens: Sequence[int]) -> None:
        """Go on after `tokens`, which a sampler like this one chose. Raises `EngineError` where the
        grammar would not have let it."""
        for token in tokens:
            if self._rules is not None:
                if not self._rules.allows(token):
                    raise EngineError("The answer so far does not fit its grammar.")
                self._rules.accept(token)
                self._roll()
            self._roll()
            self._llama.llama_sampler_accept(self._chain, token)

    def close(self) -> None:
        """Free what llama.cpp holds."""
        if self._owned is not None:
            self._owned.close()
            self._owned = None

    def _fitting(self, rules: "_Rules", logits: NDArray[np.float32]) -> int:
        """The token, chosen freely if the grammar allows it (checking one is cheap, and models that
        were asked for JSON mostly write it), else among those that it allows."""
        token = self._pick(self._candidates(logits))
        if rules.allows(token):
            self._roll()
        else:
            token = self._among(rules, logits)
        rules.accept(token)
        return token

    def _among(self, rules: "_Rules", logits: NDArray[np.float32]) -> int:
        allowed = rules.allowed(self._candidates(logits))
        while len(allowed):
            token = self._pick(allowed.copy())
            if rules.shown(token):
                return token
            allowed = allowed[allowed["id"] != token]
        return rules.end()

    def _candidates(self, logits: NDArray[np.float32]) -> _Candidates:
        candidates = self._blank.copy()
        candidates["logit"] = logits
        return candidates

    def _pick(self, candidates: _Candidates) -> int:
        """Run the chain; it reorders the candidates, and does not yet remember the choice."""
        array = _array(self._llama, candidates)
        self._llama.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(candidates[max(0, array.selected)]["id"])

    def _roll(self) -> None:
        """Use up a random number. A choice takes one, and with a grammar two, used or not: so an
        answer that is computed again goes on with those that it would have had."""
        if self._dice is not None:
            candidate = _blank(1)
            array = _array(self._llama, candidate)
            self._llama.llama_sampler_apply(self._dice, ctypes.byref(array))

    def _read(self, view: Any) -> NDArray[np.float32]:
        return np.ctypeslib.as_array(view, (self._size,))


class _Links:
    """Makes the links of a chain, in the order of llama.cpp's own default."""

    def __init__(self, llama: Any, size: int, made: ExitStack) -> None:
        self._llama = llama
        self._size = size
        self._made = made
        self.dice: Any = None
        """The link that draws random numbers."""

    def chain(self, sampling: Sampling) -> Any:
        """Raises `InvalidInput`."""
        llama = self._llama
        biases = self._biases(sampling.logit_bias)
        settings = llama.llama_sampler_chain_default_params()
        settings.no_perf = True
        chain = llama.llama_sampler_chain_init(settings)
        self._made.callback(llama.llama_sampler_free, chain)
        links = [llama.llama_sampler_init_logit_bias(self._size, len(biases), biases)]
        links += self._penalties(sampling)
        links += self._choice(sampling)
        for link in links:
            if not link:
                raise EngineError("llama.cpp could not make a sampler.")
            llama.llama_sampler_chain_add(chain, link)
        return chain

    def _biases(self, wanted: Mapping[int, float]) -> Any:
        biases = (self._llama.llama_logit_bias * len(wanted))()
        for place, (token, bias) in enumerate(wanted.items()):
            if not 0 <= token < self._size:
                message = f"Token {token} is not in the model's vocabulary of {self._size}."
                raise InvalidInput(message, "logit_bias")
            decisive = abs(bias) >= _FULL_BIAS
            biases[place].token = token
            biases[place].bias = float(np.copysign(_DECISIVE, bias)) if decisive else bias
        return biases

    def _penalties(self, sampling: Sampling) -> list[Any]:
        if sampling.repeat_penalty <= 0:
            raise InvalidInput("The repeat penalty must be above 0.", "repeat_penalty")
        penalty = self._llama.llama_sampler_init_penalties
        frequency, presence = sampling.frequency_penalty, sampling.presence_penalty
        return [
            penalty(self._size, _REPEATS_SEEN, sampling.repeat_penalty, 0.0, 0.0),
            penalty(self._size, _PENALISED, 1.0, frequency, presence),
        ]

    def _choice(self, sampling: Sampling) -> list[Any]:
        llama = self._llama
        if sampling.temperature <= 0:
            return [llama.llama_sampler_init_greedy()]
        seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        # The largest 32-bit number would ask llama.cpp for a seed of its own.
        self.dice = llama.llama_sampler_init_dist(seed % 0xFFFFFFFF)
        nucleus = _NUCLEUS if sampling.top_p < 1 else 0
        return [
            llama.llama_sampler_init_top_k(sampling.top_k or nucleus),
            llama.llama_sampler_init_top_p(sampling.top_p, 1),
            llama.llama_sampler_init_min_p(sampling.min_p, 1),
            llama.llama_sampler_init_temp(sampling.temperature),
            self.dice,
        ]


class _Rules:
    """A grammar, and how far the answer has come in it."""

    def __init__(self, llama: Any, vocab: Any, grammar: Grammar, made: ExitStack) -> None:
        self._llama = llama
        self._vocab = vocab
        self._text = grammar.text
        self._grammar = llama.llama_sampler_init_grammar(vocab, grammar.text.encode(), b"root")
        if not self._grammar:
            raise InvalidInput("llama.cpp cannot use the grammar of this answer's format.")
        made.callback(llama.llama_sampler_free, self._grammar)

    def allows(self, token: int) -> bool:
        """Whether the answer can go on with `token`, or end with it."""
        candidate = _blank(1)
        candidate["id"] = token
        return len(self.allowed(candidate)) == 1 and self.shown(token)

    def allowed(self, candidates: _Candidates) -> _Candidates:
        """Those of them that fit."""
        array = _array(self._llama, candidates)
        self._llama.llama_sampler_apply(self._grammar, ctypes.byref(array))
        fitting: _Candidates = candidates[np.isfinite(candidates["logit"])]
        return fitting

    def shown(self, token: int) -> bool:
        """Whether readers see `token` as the text that the grammar takes it for. Of control tokens
        they see none but those that the grammar names, and ends."""
        if self._llama.llama_vocab_is_eog(self._vocab, token):
            return True
        room = ctypes.create_string_buffer(1)
        if self._llama.llama_token_to_piece(self._vocab, token, room, 1, 0, False):
            return True
        text: bytes = self._llama.llama_vocab_get_text(self._vocab, token)
        return text.decode("utf-8", "replace") in self._text

    def accept(self, token: int) -> None:
        """Go on with a token that is allowed."""
        if not self._llama.llama_vocab_is_eog(self._vocab, token):
            self._llama.llama_sampler_accept(self._grammar, token)

    def end(self) -> int:
        """A token that ends the answer."""
        known: tuple[Callable[[Any], int], ...]
        known = (self._llama.llama_vocab_eos, self._llama.llama_vocab_eot)
        for token in (int(find(self._vocab)) for find in known):
            if token >= 0 and self._llama.llama_vocab_is_eog(self._vocab, token):
                return token
        raise EngineError("The model has no token that ends an answer.")


def _blank(size: int) -> _Candidates:
    candidates = np.zeros(size, _TOKEN_DATA)
    candidates["id"] = np.arange(size)
    return candidates


def _array(llama: Any, candidates: _Candidates) -> Any:
    """llama.cpp's view of `candidates`, which have to outlive it."""
    data = candidates.ctypes.data_as(llama.llama_token_data_p)
    return llama.llama_token_data_array(data, len(candidates), -1, False)


def _measured(logits: NDArray[np.float32], token: int, alternatives: int) -> Sampled:
    values = logits.astype(np.float64)
    values -= values.max()
    values -= np.log(np.exp(values).sum())
    np.maximum(values, LEAST_LOGPROB, out=values)
    count = min(alternatives, len(values))
    likely = np.argpartition(-values, count - 1)[:count] if count else np.zeros(0, np.int64)
    likely = likely[np.argsort(-values[likely], kind="stable")]
    top = tuple((int(each), float(values[each])) for each in likely)
    return Sampled(token, float(values[token]), top)
