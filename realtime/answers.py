"""The responses of a conversation session, from being asked for to `response.done`. No I/O.

One response at a time writes to the conversation; others, outside of it, run beside. A response
waits for the text of the speech it answers. Whatever the graph makes of a response that is over is
dropped.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engines.audio import Encoder
from engines.base import EngineError
from engines.generation import Generate
from pipelines.conversation import Conversation, Said
from pipelines.frames import (
    Answered,
    AudioOut,
    Frame,
    Interrupt,
    Respond,
    Samples,
    Text,
    ToolCall,
)
from pipelines.items import FunctionCall, Item, Message, OutputAudio, OutputText
from realtime.actions import Action, Push
from realtime.conversation_settings import Answering, ConversationSettings, ResponseRequest
from realtime.prompts import request_of
from realtime.response_stream import Ending, ResponseStream, Shell, item_status, new_message
from realtime.surroundings import Surroundings
from realtime.wire import Wire

MOST_OUTSIDE = 8
"""Responses outside of the conversation that run at once."""
PROVISIONAL = "provisional"
"""The id of responses that are only made ready."""
DELTA_SECONDS = 0.4
"""Longest sound in one event: clients play it as it comes, and a stop takes effect soon."""


class Refused(Exception):
    """A response that cannot be created; the fields are those of the error event."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True)
class _Answer:
    """One response while it runs. `items` None: it answers the conversation."""

    stream: ResponseStream
    answering: Answering
    in_conversation: bool
    encoder: Encoder
    items: tuple[Item, ...] | None = None
    waiting: set[str] = field(default_factory=set)
    asked: bool = False
    sounding: str | None = None
    """The item whose sound is in the encoder."""
    made: dict[str, Item] = field(default_factory=dict)
    said: dict[str, Said] = field(default_factory=dict)
    previous: dict[str, str | None] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.stream.shell.id


class Answers:
    """See the module. `voice` is the name of the default voice."""

    def __init__(
        self,
        wire: Wire,
        conversation: Conversation,
        conversation_id: str,
        server: Surroundings,
        *,
        voice: str,
    ) -> None:
        self._wire = wire
        self._conversation = conversation
        self._conversation_id = conversation_id
        self._server = server
        self._voice = voice
        self._answers: dict[str, _Answer] = {}
        self._playing: dict[str, str] = {}
        """Items whose sound was sent and may not be heard to its end, with their responses."""
        self._stopped: str | None = None
        self.sounded = False
        """Whether any sound was sent, after which the voice may not change."""

    @property
    def active(self) -> str | None:
        """The response that writes to the conversation."""
        return next((a.id for a in self._answers.values() if a.in_conversation), None)

    @property
    def unheard(self) -> bool:
        """Whether there is a response in the conversation of which nobody heard or read anything,
        and that has called no function."""
        answer = self._answers.get(self.active or "")
        if answer is None or answer.id in self._playing.values():
            return False
        spoken = answer.answering.modality == "audio"
        return all(spoken and isinstance(item, Message) for item in answer.made.values())

    def create(
        self,
        request: ResponseRequest,
        settings: ConversationSettings,
        items: tuple[Item, ...] | None = None,
    ) -> list[Action]:
        """Begin a response; `items` are `request.input`, read. Raises `Refused`."""
        if request.in_conversation and self.active is not None:
            raise Refused(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {self.active}. Wait "
                "until the response is finished before creating a new one.",
            )
        outside = sum(not answer.in_conversation for answer in self._answers.values())
        if not request.in_conversation and outside >= MOST_OUTSIDE:
            message = f"{MOST_OUTSIDE} responses outside of the conversation are in progress."
            raise Refused("too_many_responses", f"{message} Wait until one is finished.")
        answering = request.answering
        self._stopped = None
        shell = Shell(
            self._wire.new_id("resp"),
            answering,
            answering.voice or self._voice,
            self._conversation_id if request.in_conversation else None,
            None if request.metadata is None else dict(request.metadata),
        )
        answer = _Answer(
            ResponseStream(self._wire, shell),
            answering,
            request.in_conversation,
            Encoder(answering.format),
            items,
            set(self._conversation.unheard(items)),
        )
        self._answers[shell.id] = answer
        return [answer.stream.created(), *self._ask(answer, settings)]

    def understood(self, item_id: str, settings: ConversationSettings) -> list[Action]:
        """An item that was spoken to us has its text, or is gone; who waited for it goes on."""
        actions: list[Action] = []
        for answer in list(self._answers.values()):
            if item_id in answer.waiting:
                answer.waiting.discard(item_id)
                actions += self._ask(answer, settings)
        return actions

    def not_understood(self, item_id: str, code: str, message: str) -> list[Action]:
        """What was said could not be understood: responses that waited for it fail."""
        ending = Ending("failed", code=code, message=message)
        waiting = [answer for answer in self._answers.values() if item_id in answer.waiting]
        return [action for answer in waiting for action in self._end(answer, ending)]

    def prepare(self, heard: Message, settings: ConversationSettings) -> list[Action]:
        """Have an answer made ready to what the speaker seems to have said."""
        if self.active is not None:
            return []
        items = (*self._conversation, heard)
        request = request_of(settings.answering, settings, items, local=self._server.local)
        return [Push(self._respond(PROVISIONAL, settings.answering, settings, request))]

    def receive(self, frame: Frame) -> list[Action]:
        """What the graph made of a response."""
        match frame:
            case Text() | ToolCall() | AudioOut() | Answered():
                answer = self._answers.get(frame.response)
            case _:
                return []
        if answer is None:
            return []
        match frame:
            case Text():
                return self._text(answer, frame)
            case ToolCall():
                return self._tool_call(answer, frame)
            case AudioOut():
                return self._audio(answer, frame)
            case Answered():
                return self._answered(answer, frame)

    def cancel(self, response_id: str | None, reason: str) -> list[Action]:
        """End a response, by default the one in the conversation; nothing if there is none."""
        answer = self._answers.get(response_id or self.active or "")
        return [] if answer is None else self._end(answer, Ending("cancelled", reason))

    def give_up(self, item_id: str) -> list[Action]:
        """This item is not wanted: the response that is writing it ends."""
        for answer in self._answers.values():
            if answer.in_conversation and item_id in answer.stream.open:
                return self.cancel(answer.id, "client_cancelled")
        return []

    def fail_all(self, code: str, message: str) -> list[Action]:
        """The session ends: so does every response."""
        ending = Ending("failed", None, code, message)
        return [
            each for answer in list(self._answers.values()) for each in self._end(answer, ending)
        ]

    def interrupt(self) -> list[Action]:
        """Somebody speaks over what is said in the conversation: it ends, and of what was said only
        that stays which was heard."""
        playing, self._playing = self._playing, {}
        active = self.active
        actions = self.cancel(None, "turn_detected")
        # What is done may still be played, also where another response is being made by now.
        done = {item: response for item, response in playing.items() if response != active}
        for item_id in done:
            self._keep_heard(item_id)
        return [*actions, *(Push(Interrupt(response)) for response in dict.fromkeys(done.values()))]

    def stopped(self, item_id: str, seconds: float) -> list[Action]:
        """The client played only so much of this item, and waits for its response to end."""
        response = self._playing.pop(item_id, None)
        if response in self._answers:
            self._stopped = response
            ended = self.cancel(response, "client_cancelled")
            self._conversation.cut(item_id, seconds)
            return ended
        return [] if response is None else [Push(Interrupt(response))]

    def was_stopped(self, response_id: str | None) -> bool:
        """Whether `stopped` ended the newest response, so that to cancel it too is no mistake."""
        stopped, self._stopped = self._stopped, None
        return stopped is not None and response_id in (None, stopped)

    # What is made

    def _ask(self, answer: _Answer, settings: ConversationSettings) -> list[Action]:
        if answer.waiting or answer.asked:
            return []
        answer.asked = True
        items = tuple(self._conversation) if answer.items is None else answer.items
        request = request_of(answer.answering, settings, items, local=self._server.local)
        return [Push(self._respond(answer.id, answer.answering, settings, request))]

    def _respond(
        self,
        response: str,
        answering: Answering,
        settings: ConversationSettings,
        request: Generate,
    ) -> Respond:
        voice = answering.voice or self._voice
        return Respond(
            response,
            settings.model,
            request,
            spoken=answering.modality == "audio",
            voice=voice,
            speed=answering.speed,
            language=self._language(voice),
            provisional=response == PROVISIONAL,
        )

    def _language(self, voice: str) -> str | None:
        try:
            return self._server.check_voice(voice)
        except EngineError:
            return None  # said when it is to speak

    def _text(self, answer: _Answer, frame: Text) -> list[Action]:
        actions = self._begun(answer, frame.item)
        answer.said[frame.item].text += frame.text
        match answer.made[frame.item]:
            case Message(content=[OutputAudio() as spoken]):
                spoken.transcript += frame.text
            case Message(content=[OutputText() as written]):
                written.text += frame.text
        return [*actions, answer.stream.text(frame.item, frame.text)]

    def _audio(self, answer: _Answer, frame: AudioOut) -> list[Action]:
        actions = self._begun(answer, frame.item)
        said = answer.said[frame.item]
        said.seconds += len(frame.samples) / frame.rate
        said.marks += frame.marks
        if answer.in_conversation and frame.item not in self._playing:
            self._playing = {**self._unheard(), frame.item: answer.id}
        self.sounded = True
        if answer.sounding != frame.item:
            actions += self._rest(answer)
            answer.sounding = frame.item
        for piece in _pieces(frame.samples, round(DELTA_SECONDS * frame.rate)):
            actions += self._sound(answer, frame.item, answer.encoder.feed(piece, frame.rate))
        return actions

    def _unheard(self) -> dict[str, str]:
        """What of `_playing` is certainly not heard to its end."""
        heard = {item: self._server.heard(item) for item in self._playing}
        return {
            item: response
            for item, response in self._playing.items()
            if (seconds := heard[item]) is not None
            and seconds < self._conversation.said(item).seconds
        }

    def _rest(self, answer: _Answer) -> list[Action]:
        """What the encoder held back of the item that sounded last."""
        item_id, answer.sounding = answer.sounding, None
        rest = answer.encoder.flush()
        return [] if item_id is None else self._sound(answer, item_id, rest)

    @staticmethod
    def _sound(answer: _Answer, item_id: str, data: bytes) -> list[Action]:
        if not data:
            return []
        return [answer.stream.audio(item_id, base64.b64encode(data).decode())]

    def _tool_call(self, answer: _Answer, frame: ToolCall) -> list[Action]:
        call = answer.made.get(frame.item)
        actions: list[Action] = []
        if call is None:
            if answer.answering.modality == "text":
                actions += self._close_all(answer, Ending("completed"))
            call = FunctionCall(frame.item, frame.call, frame.name, status="in_progress")
            actions += self._begin(answer, call)
        assert isinstance(call, FunctionCall)
        if frame.arguments:
            call.arguments += frame.arguments
            actions.append(answer.stream.arguments(call, frame.arguments))
        if frame.complete:
            call.status = "completed"
            actions += self._close(answer, call)
        return actions

    def _begun(self, answer: _Answer, item_id: str) -> list[Action]:
        """Have this message open."""
        if item_id in answer.made:
            return []
        actions: list[Action] = []
        spoken = answer.answering.modality == "audio"
        if not spoken:
            actions += self._close_all(answer, Ending("completed"))
        message = new_message(item_id, spoken=spoken)
        said = self._conversation.said(item_id) if answer.in_conversation else Said()
        answer.said[item_id] = said
        return [*actions, *self._begin(answer, message)]

    def _begin(self, answer: _Answer, item: Item) -> Sequence[Action]:
        answer.made[item.id] = item
        previous = self._conversation.insert(item) if answer.in_conversation else None
        answer.previous[item.id] = previous
        return answer.stream.begin(item, previous)

    # How it ends

    def _answered(self, answer: _Answer, frame: Answered) -> list[Action]:
        match frame.reason:
            case "stop":
                ending = Ending("completed", usage=frame.usage)
            case "length":
                ending = Ending("incomplete", "max_output_tokens", usage=frame.usage)
            case _:
                failure = (frame.code or "server_error", frame.message)
                ending = Ending("failed", None, *failure, usage=frame.usage)
        return self._end(answer, ending)

    def _end(self, answer: _Answer, ending: Ending) -> list[Action]:
        del self._answers[answer.id]
        actions = self._close_all(answer, ending)
        actions += answer.stream.done(ending)
        # A response can also fail while some node still works on it.
        if ending.status in ("cancelled", "failed") and answer.asked:
            actions.append(Push(Interrupt(answer.id)))
        return actions

    def _close_all(self, answer: _Answer, ending: Ending) -> list[Action]:
        """Close what is open, as the response's end makes it."""
        actions: list[Action] = []
        for item_id in answer.stream.open:
            item = answer.made[item_id]
            item.status = item_status(ending.status)
            if ending.status == "cancelled":
                self._keep_heard(item_id)
            elif item_id == answer.sounding:
                actions += self._rest(answer)
            actions += self._close(answer, item)
        return actions

    def _close(self, answer: _Answer, item: Item) -> Sequence[Action]:
        said = answer.said.get(item.id)
        text = "" if said is None else said.text
        return answer.stream.close(item, answer.previous[item.id], text)

    def _keep_heard(self, item_id: str) -> None:
        seconds = self._server.heard(item_id)
        if seconds is None:
            seconds = self._conversation.said(item_id).seconds
        self._conversation.cut(item_id, seconds)


def _pieces(samples: Samples, length: int) -> Iterator[Samples]:
    return (samples[at : at + length] for at in range(0, len(samples), length))
