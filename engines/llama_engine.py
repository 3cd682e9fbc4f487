"""Continuous batching on llama.cpp: many answers in one context, each step a batch of what is
most urgent."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engines.base import EngineError, Outcome, Work
from engines.generation import Generate
from engines.kv_cells import Cells
from engines.llama_answers import Answer
from engines.llama_context import CACHE_FULL, Context, ContextSize, LlamaModel, closing_all
from engines.llama_pace import Pace
from engines.llama_prompts import Prompts
from engines.llama_sampling import Sampler
from engines.llama_text import Tokeniser

ROUND_SECONDS = 0.08
"""A step goes on for so long where nobody waits to be told a first token: handing a step over
costs about as much as a token of a small model."""

IDLE_SEQUENCES = 16
"""Answers that are over, and whose tokens are kept for a prompt that begins alike."""

WORTH_WAITING = 32
"""Tokens of a prompt that are worth waiting for while another answer computes them."""


KEPT_SECONDS = 60.0
"""For so long after a live answer its tokens are the last to go: its conversation goes on, and all
of it would have to be computed before the next answer."""

SPARE_CELLS = 16
"""Cells that stay free for each other answer when one begins, so that it need not give way to them
at once."""


@dataclass(frozen=True, slots=True)
class LlamaSettings:
    """`context`: most tokens of one prompt and its answer. `cells`: of all together.
    `sequences`: answers at once. `batch`: most tokens of one decode."""

    name: str
    path: str
    context: int | None
    cells: int | None
    sequences: int
    batch: int
    threads: int
    gpu_layers: int | None


class LlamaEngine:
    """Jobs of `Generate`; each step brings those in it closer to their end by a token or more.

    A prompt is computed in chunks between other answers' tokens, those of live jobs first. What an
    answer and its prompt left in the context stays until the room is needed, and a prompt that
    begins alike does not compute it again. When the cells run out, the least urgent answer gives up
    its own and computes them again later, from its tokens; one that is not live does so for a live
    one to begin.
    """

    def __init__(self, settings: LlamaSettings) -> None:
        self._model = LlamaModel(settings.name, settings.path, settings.gpu_layers)
        with closing_all(self._model):
            trained = self._model.trained_context
            self._longest = min(settings.context or DEFAULT_CONTEXT, trained)
            cells = max(settings.cells or 0, self._longest)
            sequences = min(MOST_SEQUENCES, settings.sequences + IDLE_SEQUENCES)
            size = ContextSize(cells, sequences, settings.batch, settings.threads)
            self._context = Context(self._model, size)
        with closing_all(self._model, self._context):
            self._cells = Cells(cells, sequences)
            self._tokeniser = Tokeniser(self._model.vocabulary)
            self._prompts = Prompts(self._tokeniser, self._model.template, self._longest)
            self._pace = Pace(settings.batch)
            self._reuses = not self._model.forgets_whole
            self._answers: dict[int, Answer] = {}
            self._kept: dict[int, float] = {}  # idle sequences of live answers, and until when
            self._warm_up()

    def step(self, work: Sequence[Work]) -> Sequence[Outcome]:
        outcomes = self._join(work)
        answers = [self._answers[each.job] for each in work if each.job in self._answers]
        answers.sort(key=lambda answer: not answer.live)
        began = time.perf_counter()
        rounds = 0
        while True:
            self._compute(answers)
            rounds += 1
            spent = time.perf_counter() - began
            if spent * (rounds + 1) / rounds > ROUND_SECONDS or not _all_writing(answers):
                break
        return outcomes + [self._outcome(answer) for answer in answers]

    def drop(self, job: int) -> None:
        answer = self._answers.pop(job, None)
        if answer is not None:
            answer.close()
            self._leave(answer)

    def close(self) -> None:
        for job in list(self._answers):
            self.drop(job)
        self._context.close()
        self._model.close()

    # Who takes part

    def _join(self, work: Sequence[Work]) -> list[Outcome]:
        """Begin the answers that are new; the outcomes of those that cannot begin."""
        failed = []
        for each in work:
            if each.job in self._answers:
                continue
            try:
                self._answers[each.job] = self._begin(each)
            except EngineError as error:
                failed.append(Outcome(each.job, done=True, error=error))
        return failed

    def _begin(self, work: Work) -> Answer:
        request: Generate = work.payload
        prompt = self._prompts.prompt(request)
        sampler = Sampler(self._model.pointer, request.sampling, prompt.grammar, request.logprobs)
        answer = Answer(work.job, request, prompt, sampler, self._tokeniser)
        answer.live = work.kind.live
        with closing_all(sampler):
            answer.go_on(work.progress)
        return answer

    def _outcome(self, answer: Answer) -> Outcome:
        events, progress = answer.take_events(), answer.take_new()
        if answer.ended:
            self.drop(answer.job)
        return Outcome(answer.job, events, answer.ended, answer.error, progress)

    # One round: who has a place, what is computed, who picks

    def _compute(self, answers: Sequence[Answer]) -> None:
        """A token for each answer whose prompt is done, and more of the prompts of the others."""
        active = [answer for answer in answers if not answer.ended]
        seated = self._placed(active)
        writing = [answer for answer in seated if self._missing(answer) == 1]
        reading = [answer for answer in seated if self._missing(answer) > 1]
        if reading:
            self._mixed(writing, reading, active)
            return
        for group in self._pace.groups(writing):
            self._decode([(answer, 1) for answer in group], active)

    def _mixed(
        self, writing: Sequence[Answer], reading: Sequence[Answer], active: Sequence[Answer]
    ) -> None:
        """Prompts, the most urgent first, in the room beside the tokens of those that write."""
        shares = [(answer, 1) for answer in writing]
        room = self._pace.prompt_tokens(len(writing))
        for answer in reading:
            count = min(room, self._missing(answer))
            if count:
                shares.append((answer, count))
            room -= count
        self._decode(shares, active)

    def _decode(self, shares: Sequence[tuple[Answer, int]], active: Sequence[Answer]) -> None:
        """Compute so many tokens of each answer, and let those that are complete pick their next
        one. Answers that lose their place to the others are left out."""
        shares = _seated(shares)
        while self._cells.room < sum(count for _, count in shares) and self._make_room(active):
            shares = _seated(shares)
        shares = list(self._fitting(shares))
        while shares:
            places = self._fill(shares)
            began = time.perf_counter()
            if self._computed(shares):
                self._pace.took(sum(c for _, c in shares), len(shares), _since(began))
                self._deliver(shares, places)
                return
            self._context.clear_batch()
            if not self._make_room(active):
                raise EngineError(f"The cache of model '{self._model.name}' is full.")
            shares = _seated(shares)

    def _fitting(self, shares: Sequence[tuple[Answer, int]]) -> Iterator[tuple[Answer, int]]:
        room = self._cells.room
        for answer, count in shares:
            count = min(count, room)
            room -= count
            if count:
                yield answer, count

    def _fill(self, shares: Sequence[tuple[Answer, int]]) -> list[int]:
        places = []
        for answer, count in shares:
            assert answer.sequence is not None
            held = self._cells.held(answer.sequence)
            tokens = answer.tokens[held : held + count]
            places.append(self._context.add(tokens, held, answer.sequence, every=False))
        return places

    def _computed(self, shares: Sequence[tuple[Answer, int]]) -> bool:
        """Compute the batch; False where the cache has no room for it."""
        try:
            return self._context.decode() != CACHE_FULL
        except EngineError:
            # Nobody knows how much of it is in the cache now: they begin again from their tokens.
            for answer, _ in shares:
                self._forget(answer)
            raise

    def _deliver(self, shares: Sequence[tuple[Answer, int]], places: Sequence[int]) -> None:
        for (answer, count), place in zip(shares, places, strict=True):
            assert answer.sequence is not None
            held = self._cells.held(answer.sequence)
            self._cells.extend(answer.sequence, answer.tokens[held : held + count])
            if self._missing(answer):
                continue
            try:
                answer.pick(self._context.pointer, place, self._longest)
            except Exception as error:  # a border: the others of the batch were computed with it
                answer.fail(error)

    def _missing(self, answer: Answer) -> int:
        """Tokens that have to be computed before the next can be picked."""
        held = 0 if answer.sequence is None else self._cells.held(answer.sequence)
        return len(answer.tokens) - held

    # Places in the context

    def _placed(self, active: Sequence[Answer]) -> list[Answer]:
        """Those with a place, after giving one to whom there is one for, the most urgent first: who
        computes what another one waits for is as urgent as that one."""
        order: list[Answer] = []
        for answer in active:
            if answer.sequence is None:
                first = self._awaited(answer, active)
                if first is not None:
                    order.append(first)
                elif not self._seat(answer, active) and answer.live:
                    break  # what comes free is for it, and not for those after it
            order.append(answer)
        order += active
        return [each for each in dict.fromkeys(order) if each.sequence is not None]

    def _seat(self, answer: Answer, active: Sequence[Answer]) -> bool:
        """Give it a sequence with the longest prefix that is there, unless room is short."""
        source, shared = self._prefix(answer)
        while not self._cells.open_ids or self._cells.room < self._needs(answer, shared, active):
            if not self._evict(keep=source):
                if not (self._push_out(answer, active) or self._evict()):
                    return False
                source, shared = self._prefix(answer)
        sequence = self._cells.open()
        if shared:
            self._cells.share(source, sequence, shared)
            self._context.copy(source, sequence, shared)
            if answer.live:
                self._kept.pop(source, None)  # the conversation goes on in this one
        answer.sequence = sequence
        if not answer.written:
            answer.cached = shared
        return True

    def _needs(self, answer: Answer, shared: int, active: Sequence[Answer]) -> int:
        others = sum(other.sequence is not None for other in active)
        return len(answer.tokens) - shared + others * SPARE_CELLS

    def _prefix(self, answer: Answer) -> tuple[int, int]:
        if not self._reuses:
            return -1, 0
        source, shared = self._cells.longest_prefix(answer.tokens)
        # The last token is computed in any case: what follows it is asked for.
        return source, min(shared, len(answer.tokens) - 1)

    def _awaited(self, answer: Answer, active: Sequence[Answer]) -> Answer | None:
        """An answer whose prompt is being computed and begins alike for longer than any that is
        there."""
        if not self._reuses:
            return None
        _, shared = self._prefix(answer)
        for other in active:
            if other.sequence is not None and self._missing(other) > 1:
                alike = _common(other.tokens, answer.tokens)
                if alike >= shared + WORTH_WAITING:
                    return other
        return None

    def _make_room(self, active: Sequence[Answer]) -> bool:
        """Free the cells of an idle sequence, or else of the least urgent answer but the first."""
        if self._evict():
            return True
        seated = self._by_urgency(active)
        if len(seated) < 2:
            return False
        self._forget(seated[-1])
        return True

    def _push_out(self, newcomer: Answer, active: Sequence[Answer]) -> bool:
        """Free the cells of the least urgent answer if it is less urgent than the newcomer; of its
        own kind is one without a part in this step: its reader is behind, maybe for ever."""
        seated = self._by_urgency(active)
        if not seated:
            return False
        last = seated[-1]
        gives_way = newcomer.live if last.live != newcomer.live else last not in active
        if gives_way:
            self._forget(last)
        return gives_way

    def _by_urgency(self, active: Sequence[Answer]) -> list[Answer]:
        """All that have a place; those without a part in this step come last of their kind."""
        seated = [answer for answer in self._answers.values() if answer.sequence is not None]
        order = {answer.job: place for place, answer in enumerate(active)}
        seated.sort(key=lambda answer: (not answer.live, order.get(answer.job, len(order))))
        return seated

    def _evict(self, keep: int = -1) -> bool:
        idle = [sequence for sequence in self._cells.idle if sequence != keep]
        if not idle:
            return False
        now = time.monotonic()
        oldest = next((each for each in idle if self._kept.get(each, 0.0) <= now), idle[0])
        self._kept.pop(oldest, None)
        self._cells.free(oldest)
        self._context.cut(oldest, 0)
        return True

    def _leave(self, answer: Answer) -> None:
        """What it computed stays for others, where it can be shared."""
        if answer.sequence is None:
            return
        if self._reuses and self._cells.held(answer.sequence):
            self._cells.rest(answer.sequence)
            if answer.live:
                self._kept[answer.sequence] = time.monotonic() + KEPT_SECONDS
            answer.sequence = None
        else:
            self._forget(answer)

    def _forget(self, answer: Answer) -> None:
        assert answer.sequence is not None
        self._cells.free(answer.sequence)
        self._context.cut(answer.sequence, 0)
        answer.sequence = None

    def _warm_up(self) -> None:
        """Touch all weights once, so that the first answer need not."""
        self._context.add([0], 0, 0, every=False)
        self._context.decode()
        self._context.clear()


DEFAULT_CONTEXT = 8192
"""Tokens of context where neither the configuration nor the model's training says less."""

MOST_SEQUENCES = 256
"""llama.cpp's own bound."""


def _all_writing(answers: Sequence[Answer]) -> bool:
    """Whether each has been told its first token and is not over."""
    return all(answer.written > 1 and not answer.ended for answer in answers) and bool(answers)


def _seated(shares: Sequence[tuple[Answer, int]]) -> list[tuple[Answer, int]]:
    """Without those who lost their place."""
    return [share for share in shares if share[0].sequence is not None]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))


def _since(began: float) -> float:
    return time.perf_counter() - began
