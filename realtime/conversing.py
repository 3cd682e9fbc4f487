"""A conversation session of the Realtime API, without I/O: client events to frames for its graph,
and the graph's frames to server events.

What the client says of the conversation waits until its earlier commits are answered, so that items
come in the order in which they were sent.
"""

from collections import deque

from engines.audio import AudioFormat
from engines.base import EngineError, ModelNotFound, Unsupported
from pipelines.conversation import Conversation
from pipelines.frames import (
    Clear,
    Commit,
    Configure,
    Error,
    Frame,
    IdleTimeout,
    Pause,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipelines.items import InputAudio, Message
from realtime.actions import Action, Push, Send
from realtime.answers import Answers, Refused
from realtime.conversation_items import ConversationItems
from realtime.conversation_settings import (
    ConversationSettings,
    conversation_transcription_settings,
    conversation_turn_settings,
    echo_conversation,
    merge_conversation,
    override,
)
from realtime.ear import Ear, milliseconds
from realtime.events import (
    Append,
    BadEvent,
    ClearBuffer,
    ClearOutput,
    ClientEvent,
    CommitBuffer,
    CreateItem,
    DeleteItem,
    ResponseCancel,
    ResponseCreate,
    RetrieveItem,
    SessionUpdate,
    TruncateItem,
)
from realtime.fields import SettingsError
from realtime.protocol import expired, refused_update
from realtime.settings import Settings
from realtime.surroundings import Surroundings, Terms
from realtime.transcribing import Transcribing
from realtime.turn_answers import TurnAnswers
from realtime.wire import Wire

MAX_DEFERRED = 256
"""Events that may wait for the answer to a commit."""


class ConversationProtocol:
    """One conversation session. Every method returns what the session shall do, in order, and none
    raises for anything that a client sent."""

    def __init__(self, terms: Terms, surroundings: Surroundings) -> None:
        self._terms = terms
        self._server = surroundings
        self._settings = terms.settings
        self._wire = Wire(surroundings.new_id)
        self._ear = Ear(surroundings.decoder, terms.settings.input.format)
        self._transcribing = Transcribing(self._wire, tentative=terms.tentative)
        self._conversation = Conversation()
        self._answers = Answers(
            self._wire,
            self._conversation,
            surroundings.new_id("conv"),
            surroundings,
            voice=terms.voice,
        )
        self._items = ConversationItems(
            self._wire,
            self._conversation,
            self._transcribing,
            self._ear,
            images=not surroundings.local,
            audio_of=surroundings.audio_of,
        )
        self._commits = 0
        """The client's commits and clears that are not answered."""
        self._deferred: deque[ClientEvent] = deque()
        self._utterance: str | None = None
        """The utterance that is open: clients know its id, and may not give it to an item."""
        self._turns = TurnAnswers(
            self._settings, self._conversation, self._transcribing, self._answers
        )
        self.ignored: tuple[str, ...] = ()
        """Paths in the last accepted `session.update` that mean nothing here."""
        self._tell_transcripts()

    @property
    def settings(self) -> ConversationSettings:
        """The settings in effect."""
        return self._settings

    @property
    def format(self) -> AudioFormat:
        """How the client's audio is coded."""
        return self._settings.input.format

    @property
    def contradictions(self) -> int:
        """Final transcripts that contradicted the deltas sent before them."""
        return self._transcribing.contradictions

    def open(self) -> list[Action]:
        """Greet the client and configure the graph."""
        return [self._session_event("session.created"), *self._configure(None, self._settings)]

    def receive(self, event: ClientEvent | BadEvent) -> list[Action]:
        """What a client's event asks for."""
        match event:
            case BadEvent():
                return [self._wire.error(event.code, event.message, event.param, event.event_id)]
            case Append():
                return self._ear.hear(event.audio)
            case CommitBuffer():
                self._commits += 1
                self._ear.reset()
                return [Push(Commit(request=event.event_id or ""))]
            case ClearBuffer():
                self._commits += 1
                self._ear.reset()
                return [Push(Clear(request=event.event_id or ""))]
            case SessionUpdate():
                return self._update(event)
            case ResponseCancel() if not self._cancels_deferred(event):
                return self._cancel(event)
            case ClearOutput():
                message = "Output audio buffers are cleared on WebRTC and SIP connections only."
                return [self._wire.error("invalid_value", message, "type", event.event_id)]
            case _ if self._commits:
                return self._defer(event)
            case _:
                return self._converse(event)

    def send_frame(self, frame: Frame) -> list[Action]:
        """What the client is told about a frame that left the graph, and what follows from it."""
        match frame:
            case SpeechStarted():
                return self._speech_started(frame)
            case SpeechStopped():
                place = {"item_id": frame.item, "audio_end_ms": milliseconds(frame.at)}
                return [self._wire.event("input_audio_buffer.speech_stopped", **place)]
            case IdleTimeout():
                return self._idle(frame)
            case Pause():
                return self._turns.pause(frame)
            case Commit():
                return [*self._committed(frame), *self._settled(frame.request)]
            case Clear():
                return [*self._cleared(frame), *self._settled(frame.request)]
            case Transcript():
                return self._transcript(frame)
            case Error():
                return self._failed(frame)
            case _:
                return [*self._answers.receive(frame), *self._turns.proceed()]

    def expire(self) -> list[Action]:
        """The session has lasted as long as it may."""
        over = self.leave("session_expired", "The session has expired.")
        return [*over, *expired(self._wire, self._terms.max_seconds)]

    def leave(self, code: str, message: str) -> list[Action]:
        """The session is about to end, for this reason: nothing that was begun stays open."""
        return self._answers.fail_all(code, message)

    def fail(self, code: str, message: str, kind: str = "server_error") -> list[Action]:
        """Tell the client of something that went wrong beside its events and the graph."""
        return [self._wire.error(code, message, kind=kind)]

    # What the client says

    def _defer(self, event: ClientEvent) -> list[Action]:
        if len(self._deferred) < MAX_DEFERRED:
            self._deferred.append(event)
            return []
        message = f"More than {MAX_DEFERRED} events wait for audio that was committed before them."
        return [self._wire.error("too_many_events", message, None, event.event_id)]

    def _cancels_deferred(self, event: ResponseCancel) -> bool:
        """Whether this may be about a response that was asked for and has to wait."""
        waits = any(isinstance(each, ResponseCreate) for each in self._deferred)
        return waits and event.response_id is None

    def _settled(self, request: str | None) -> list[Action]:
        """One of the client's commits or clears was answered: go on with what waited for it."""
        if request is None:
            return []
        self._commits -= 1
        actions: list[Action] = []
        while self._deferred and not self._commits:
            actions += self._converse(self._deferred.popleft())
        return actions

    def _converse(self, event: ClientEvent) -> list[Action]:
        try:
            match event:
                case CreateItem():
                    return self._items.create(event, self._utterance)
                case RetrieveItem():
                    return [self._items.retrieve(event)]
                case TruncateItem():
                    truncated = self._items.truncate(event)
                    ended = self._answers.stopped(event.item_id, event.audio_end_ms / 1000)
                    return [truncated, *ended, *self._turns.proceed()]
                case DeleteItem():
                    ended = self._answers.give_up(event.item_id)
                    deleted = self._items.delete(event)
                    return [*ended, deleted, *self._understood(event.item_id)]
                case ResponseCreate():
                    return self._respond(event)
                case ResponseCancel():
                    return self._cancel(event)
                case _:
                    message = f"This session does not take '{event.type}' events."
                    return [self._wire.error("invalid_value", message, "type", event.event_id)]
        except SettingsError as error:
            return [self._wire.error(error.code, error.message, error.param, event.event_id)]

    def _update(self, event: SessionUpdate) -> list[Action]:
        old = self._settings
        try:
            merged = merge_conversation(old, event.session)
            self._check(old, merged.settings)
        except (SettingsError, ModelNotFound, Unsupported) as error:
            return [refused_update(self._wire, error, event.event_id)]
        self.ignored = merged.ignored
        self._settings = self._turns.settings = new = merged.settings
        self._tell_transcripts()
        if new.input.format != old.input.format:
            self._ear.change(new.input.format)
        return [*self._configure(old, new), self._session_event("session.updated")]

    def _check(self, old: ConversationSettings, new: ConversationSettings) -> None:
        wanted = _heard_with(new.input)
        if wanted != _heard_with(old.input):
            self._server.check_model(*wanted)
        voice = new.answering.voice
        if voice == old.answering.voice:
            return
        param = "session.audio.output.voice"
        if self._answers.sounded:
            message = "Cannot update a conversation's voice if assistant audio is present."
            raise SettingsError("cannot_update_voice", message, param)
        self._check_voice(voice, param)

    def _check_voice(self, voice: str | None, param: str) -> None:
        try:
            if voice is not None:
                self._server.check_voice(voice)
        except EngineError as error:
            raise SettingsError("invalid_value", str(error), param) from None

    def _configure(
        self, old: ConversationSettings | None, new: ConversationSettings
    ) -> list[Action]:
        actions: list[Action] = []
        for node, settings_of in (
            ("vad", conversation_turn_settings),
            ("transcribe", conversation_transcription_settings),
            ("play", _pace),
        ):
            settings = settings_of(new)
            if old is None or settings != settings_of(old):
                actions.append(Push(Configure(node, settings)))
        return actions

    def _tell_transcripts(self) -> None:
        self._transcribing.told = self._settings.transcripts
        self._transcribing.logprobs = self._settings.input.logprobs

    def _respond(self, event: ResponseCreate) -> list[Action]:
        request = override(self._settings.answering, event.response)
        if request.answering.voice != self._settings.answering.voice:
            self._check_voice(request.answering.voice, "response.audio.output.voice")
        items = self._items.read_input(request)
        try:
            actions = self._answers.create(request, self._settings, items)
        except Refused as error:
            return [self._wire.error(error.code, error.message, None, event.event_id)]
        if request.in_conversation:
            self._turns.give_up()
        return actions

    def _cancel(self, event: ResponseCancel) -> list[Action]:
        if event.response_id is None:
            self._turns.give_up()
        actions = self._answers.cancel(event.response_id, "client_cancelled")
        if actions or self._answers.was_stopped(event.response_id):
            return [*actions, *self._turns.proceed()]
        message = "Cancellation failed: no active response found"
        return [self._wire.error("response_cancel_not_active", message, None, event.event_id)]

    # What was heard

    def _speech_started(self, frame: SpeechStarted) -> list[Action]:
        self._utterance = frame.item
        place = {"item_id": frame.item, "audio_start_ms": milliseconds(frame.at)}
        actions: list[Action] = [self._wire.event("input_audio_buffer.speech_started", **place)]
        if self._settings.turns.interrupt_response:
            actions += self._turns.interrupt()
            actions += self._answers.interrupt()
        return actions

    def _idle(self, frame: IdleTimeout) -> list[Action]:
        self._turns.idle(frame.item)
        times = {
            "audio_start_ms": milliseconds(frame.start),
            "audio_end_ms": milliseconds(frame.at),
        }
        name = "input_audio_buffer.timeout_triggered"
        return [self._wire.event(name, item_id=frame.item, **times)]

    def _committed(self, frame: Commit) -> list[Action]:
        if frame.item is None or self._transcribing.knows(frame.item):
            return []
        self._utterance = None
        samples = frame.at - frame.start
        part = InputAudio(samples=samples)
        item = Message(frame.item, "user", [part])
        previous = self._conversation.insert(item)
        fields = {"previous_item_id": previous, "item_id": frame.item}
        actions: list[Action] = [
            self._wire.event("input_audio_buffer.committed", **fields),
            *self._items.events(item, previous),
            *self._transcribing.commit(frame.item, samples),
        ]
        part.transcript = self._transcribing.transcript_of(frame.item)
        return actions if frame.request is not None else [*actions, *self._turns.end(frame.item)]

    def _cleared(self, frame: Clear) -> list[Action]:
        if frame.item is not None:
            self._utterance = None
            self._transcribing.clear(frame.item)
        if frame.request is None:
            return []
        return [self._wire.event("input_audio_buffer.cleared")]

    def _transcript(self, frame: Transcript) -> list[Action]:
        actions = self._transcribing.transcript(frame)
        if frame.state == "final":
            return [*actions, *self._understood(frame.item)]
        return [*actions, *self._turns.heard(frame.item)]

    def _understood(self, item_id: str) -> list[Action]:
        """An item has its text, or is gone."""
        match self._conversation.get(item_id):
            case Message(content=[*parts]):
                text = self._transcribing.transcript_of(item_id)
                if text is None:
                    return []  # its commit has not come yet
                for part in parts:
                    if isinstance(part, InputAudio) and part.transcript is None:
                        part.transcript, text = text, ""
            case None:
                self._turns.give_up(item_id)
        return [*self._answers.understood(item_id, self._settings), *self._turns.proceed()]

    def _failed(self, frame: Error) -> list[Action]:
        if frame.item is None:
            error = self._wire.error(
                frame.code, frame.message, None, frame.request or None, frame.kind
            )
            return [error, *self._settled(frame.request)]
        actions = self._transcribing.fail(frame)
        if self._transcribing.failure_of(frame.item) is None:
            return actions  # its commit has not come yet
        return [*actions, *self._turns.fail(frame.item, frame)]

    def _session_event(self, name: str) -> Send:
        terms = self._terms
        session = echo_conversation(
            self._settings, terms.session_id, terms.expires_at, voice=terms.voice
        )
        return self._wire.event(name, session=session)


def _heard_with(settings: Settings) -> tuple[str, str | None]:
    return settings.model, settings.transcription.language


def _pace(settings: ConversationSettings) -> dict[str, float | None]:
    lead = settings.lead_ms
    return {"lead": None if lead is None else lead / 1000}
