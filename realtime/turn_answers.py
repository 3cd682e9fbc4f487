"""When the end of a turn is answered: once it is understood and nothing else is said. No I/O."""

from pipelines.conversation import Conversation
from pipelines.frames import Error, Interrupt, Pause
from pipelines.items import InputAudio, InputText, Message
from realtime.actions import Action, Push
from realtime.answers import PROVISIONAL, Answers
from realtime.conversation_settings import ConversationSettings, ResponseRequest
from realtime.transcribing import Transcribing

SILENCE = "The user has said nothing for a while."
"""What the model is told when the idle timeout makes it speak."""


class TurnAnswers:
    """The one turn that waits for its answer. `settings` are the session's, kept up to date by
    their owner."""

    def __init__(
        self,
        settings: ConversationSettings,
        conversation: Conversation,
        transcribing: Transcribing,
        answers: Answers,
    ) -> None:
        self.settings = settings
        self._conversation = conversation
        self._transcribing = transcribing
        self._answers = answers
        self._due: str | None = None
        """The utterance that is answered next."""
        self._silent: str | None = None
        """The utterance without speech that the idle timeout made."""
        self._missed = False
        """Whether speech took an answer's place of which nothing was heard."""
        self._displaced: list[str] = []
        """Utterances that were due when more was said."""
        self._paused: str | None = None
        self._prepared = ""

    def interrupt(self) -> list[Action]:
        """Somebody speaks: if they turn out to have said something, that is answered instead."""
        self._missed = self._missed or self._answers.unheard
        self._displace()
        return [Push(Interrupt(PROVISIONAL))] if self.settings.turns.preemptive else []

    def end(self, item_id: str) -> list[Action]:
        """A turn is over."""
        self._paused, self._prepared = None, ""
        if not self.settings.turns.create_response:
            return []
        self._displace()
        self._due = item_id
        return self.proceed()

    def idle(self, item_id: str) -> None:
        """The turn of this item will be silence, which is answered too."""
        self._silent = item_id

    def give_up(self, item_id: str | None = None) -> None:
        """The turn that is due (or that of this item) is not answered."""
        if item_id is None:
            self._missed = False
            self._displaced.clear()
        if item_id is None or item_id == self._due:
            self._due = None

    def proceed(self) -> list[Action]:
        """Answer the turn that is due, if it can be now."""
        item_id = self._due
        if item_id is None or self._answers.active is not None:
            return []
        failure = self._transcribing.failure_of(item_id)
        if failure is not None:
            return self.fail(item_id, failure)
        text = self._transcribing.transcript_of(item_id)
        if text is None or (not text and self._still_listening()):
            return []
        missed, self._missed, self._due = self._has_missed(), False, None
        self._displaced.clear()
        request = ResponseRequest(self.settings.answering)
        if text or missed:
            return self._answers.create(request, self.settings)
        if item_id != self._silent:
            return []  # a noise; there is nothing to answer
        told = Message("", "system", [InputText(SILENCE)])
        return self._answers.create(request, self.settings, (*self._conversation, told))

    def fail(self, item_id: str, failure: Error) -> list[Action]:
        """An utterance was not understood: its answer fails, if one is due, and those that wait
        for its text."""
        actions: list[Action] = []
        if item_id == self._due and self._answers.active is None:
            self._missed, self._due = False, None
            self._displaced.clear()
            request = ResponseRequest(self.settings.answering)
            actions += self._answers.create(request, self.settings)
        actions += self._answers.not_understood(item_id, failure.code, failure.message)
        match self._conversation.get(item_id):
            case Message(content=[InputAudio() as part]):
                part.transcript = ""
        return [*actions, *self.proceed()]

    def _displace(self) -> None:
        if self._due is not None:
            self._displaced.append(self._due)
            self._due = None

    def _still_listening(self) -> bool:
        """Whether what was said before is not understood yet."""
        return not set(self._displaced).isdisjoint(self._conversation.unheard())

    def _has_missed(self) -> bool:
        """Whether anything but noises waits for an answer."""
        return self._missed or any(
            item == self._silent or self._transcribing.transcript_of(item)
            for item in self._displaced
        )

    def pause(self, frame: Pause) -> list[Action]:
        """The speaker paused, or goes on: with `preemptive`, an answer is made ready."""
        turns = self.settings.turns
        if not (turns.preemptive and turns.create_response):
            return []
        if not frame.resumed:
            self._paused = frame.item
            return self.heard(frame.item)
        self._paused, self._prepared = None, ""
        return [Push(Interrupt(PROVISIONAL))]

    def heard(self, item_id: str) -> list[Action]:
        """More is understood of an open utterance."""
        text = self._transcribing.understood(item_id)
        if item_id != self._paused or not text or text == self._prepared:
            return []
        self._prepared = text
        heard = Message(item_id, "user", [InputAudio(text)])
        return self._answers.prepare(heard, self.settings)
