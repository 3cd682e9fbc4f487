"""A spoken or written conversation over the Realtime API, seen from the user's side. No I/O.

Server events, the microphone, the keyboard and the loudspeaker's position come in; what to send, to
play and to show goes out. It outlives connections: a new one is told what was said before.
"""

import base64
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from clients.asking import Asking, message_of, response_of
from clients.commands import (
    RATE,
    Command,
    Flush,
    Notice,
    Play,
    Send,
    Show,
    append,
    create,
    truncate,
)
from clients.playback import Playback
from clients.turns import Growing, Pace, Said, Speaker, Turn
from clients.wire import as_object, as_text

TAIL: Final = 0.3
"""Seconds that a room goes on sounding when the loudspeaker is silent."""
MOST_PENDING: Final = 1800 * RATE
"""Samples that may wait to be played; the sound of a longer answer is left out."""

_TYPED: Final = "typed"
_MOST_OPEN: Final = 64
_MOST_KEPT: Final = 200
_TRANSCRIPTION: Final = "conversation.item.input_audio_transcription"
_TENTATIVE: Final = "antiphon.transcription.tentative"


class Conversation:
    """See the module. `guard`: seconds after the assistant's sound in which the microphone is still
    not heard, as it is not during that sound; None where it cannot hear the loudspeaker.

    Times are seconds on any clock. Commands are carried out in order, those of one call before the
    next call.
    """

    def __init__(self, guard: float | None = TAIL) -> None:
        self._guard = guard
        self._quiet_from = float("-inf")
        self._playback = Playback()
        self._flushing = False
        self._pace = Pace()
        self._asking = Asking()
        self._turns: dict[str, Turn] = {}
        self._said: deque[Said] = deque(maxlen=_MOST_KEPT)
        self._connected = False

    @property
    def idle(self) -> bool:
        """Nothing is being said, and nothing is expected."""
        return self._connected and not self._asking.expecting and not self._turns

    @property
    def failure(self) -> str | None:
        """Why the last answer failed, if it did."""
        return self._asking.failure

    @property
    def growing(self) -> list[Growing]:
        """The turns that are going on, as far as they were heard."""
        turns = [turn.growing() for turn in self._turns.values()]
        return [turn for turn in turns if turn.settled or turn.unsettled]

    # The connection

    def connect(self) -> list[Command]:
        """A session was opened: tell it what was said, and ask for an answer that is owed."""
        self._connected = True
        told = [*self._said, *(Said(t.speaker, t.text) for t in self._turns.values() if t.text)]
        commands: list[Command] = [create(said) for said in told]
        owed = bool(told) and told[-1].speaker == "user" and self.failure is None
        return commands + (self._asking.ask() if owed else [])

    def lose(self) -> list[Command]:
        """The session is over. An answer that has come is played to its end; what was not said to
        the end will be said again."""
        self._connected = False
        for turn in self._turns.values():
            turn.here, turn.lost = False, not turn.whole
            turn.cut = turn.cut or (turn.lost and turn.speaker == "user")
        broken = any(turn.lost and turn.speaker == "assistant" for turn in self._turns.values())
        commands = self._silence() if broken else []
        self._asking.reset()
        return commands + self._finish()

    # The user

    def hear(self, sound: bytes, now: float) -> Send:
        """Sound from the microphone; silence is sent while the assistant would hear itself."""
        if self._guard is not None and (self._playback.playing or now < self._quiet_from):
            return append(bytes(len(sound)))
        return append(sound)

    def type(self, text: str) -> list[Command]:
        """The user wrote something, which interrupts what is being said."""
        commands = self.interrupt()
        self._turn("user", _TYPED).text = text
        self._turn("user", _TYPED).whole = True
        # What is interrupted is over first: then its turn is written before this one.
        commands += self._finish()
        if self._connected:
            commands += [create(Said("user", text)), *self._asking.ask()]
        return commands

    def interrupt(self) -> list[Command]:
        """The user wants silence."""
        return [*self._asking.cancel(), *self._silence()]

    def _silence(self) -> list[Command]:
        """Let the assistant be heard no more."""
        self._asking.give_up()
        speaking = [turn for turn in self._turns.values() if turn.speaker == "assistant"]
        for turn in speaking:
            turn.cut = True
        self._flushing = bool(speaking)
        return [Flush()] if speaking else []

    # The loudspeaker

    def reach(self, position: int, now: float) -> list[Command]:
        """The loudspeaker has played so many samples since it was opened."""
        playing = self._playback.playing
        self._playback.reach(position)
        self._sound_ends(playing, now)
        return self._finish()

    def flushed(self, position: int, now: float) -> list[Command]:
        """The loudspeaker is silent, after so many samples."""
        playing = self._playback.playing
        self._playback.flush(position)
        self._sound_ends(playing, now)
        self._flushing = False
        cut = [turn for turn in self._turns.values() if turn.cut and turn.spoken and turn.here]
        commands: list[Command] = [truncate(t.item, self._playback.played(t.item)) for t in cut]
        return commands + self._finish()

    def _sound_ends(self, was_playing: bool, now: float) -> None:
        if was_playing and not self._playback.playing:
            self._quiet_from = now + (self._guard or 0.0)

    # The server

    def take(self, event: Mapping[str, Any]) -> list[Command]:
        """A server event."""
        kind = as_text(event.get("type"))
        commands: list[Command] = []
        match kind.partition("."):
            case ("input_audio_buffer", _, "speech_started"):
                commands = self._speech_started(as_text(event.get("item_id")))
            case ("conversation" | "antiphon", _, _):
                commands = self._transcribed(kind, event)
            case ("response", _, "done"):
                commands = self._done(event)
            case ("response", _, rest) if not self._asking.is_over(event):
                commands = self._answered(rest, event)
            case ("error", _, _):
                commands = self._asking.refused(event)
        return commands + self._finish()

    def _speech_started(self, item: str) -> list[Command]:
        """Somebody speaks; the server itself ends the answer that it interrupts."""
        commands = self._silence()
        turns = self._turns.values()
        for empty in [turn.item for turn in turns if turn.speaker == "user" and not turn.text]:
            del self._turns[empty]
        self._turn("user", item)
        return commands

    def _transcribed(self, kind: str, event: Mapping[str, Any]) -> list[Command]:
        item = as_text(event.get("item_id"))
        if kind == _TENTATIVE:
            self._turn("user", item).unsettled = as_text(event.get("text"))
        elif kind == f"{_TRANSCRIPTION}.delta":
            turn = self._turn("user", item)
            turn.text += as_text(event.get("delta"))
            turn.unsettled = ""
        elif kind == f"{_TRANSCRIPTION}.completed":
            turn = self._turn("user", item)
            turn.text, turn.whole = as_text(event.get("transcript")), True
        elif kind == f"{_TRANSCRIPTION}.failed":
            self._turns.pop(item, None)
            return [Notice(message_of(event.get("error")) or "The transcription failed.")]
        return []

    def _answered(self, kind: str, event: Mapping[str, Any]) -> list[Command]:
        match kind:
            case "created":
                self._asking.created(event)
            case "output_text.delta":
                self._answer(event).text += as_text(event.get("delta"))
            case "output_audio_transcript.delta":
                turn = self._answer(event)
                turn.spoken = True
                turn.text += as_text(event.get("delta"))
            case "output_audio.delta":
                return self._sound(self._answer(event), as_text(event.get("delta")))
            case "output_item.done":
                turn_done = self._turns.get(as_text(as_object(event.get("item")).get("id")))
                if turn_done is not None:
                    turn_done.whole = True
        return []

    def _sound(self, turn: Turn, delta: str) -> list[Command]:
        turn.spoken = True
        try:
            data = turn.odd + base64.b64decode(delta, validate=True)
        except ValueError:
            return [Notice("The server sent sound that is none.")]
        end = len(data) // 2 * 2
        data, turn.odd = data[:end], data[end:]
        if not data or self._playback.pending > MOST_PENDING:
            return []
        self._playback.give(turn.item, end // 2)
        return [Play(data)]

    def _done(self, event: Mapping[str, Any]) -> list[Command]:
        name = response_of(event)
        for turn in self._turns.values():
            turn.whole = turn.whole or turn.response == name
        return self._asking.done(event)

    # Turns

    def _turn(self, speaker: Speaker, item: str, response: str | None = None) -> Turn:
        if item not in self._turns:
            if len(self._turns) >= _MOST_OPEN:
                del self._turns[next(iter(self._turns))]
            self._turns[item] = Turn(speaker, item, response)
        return self._turns[item]

    def _answer(self, event: Mapping[str, Any]) -> Turn:
        return self._turn("assistant", as_text(event.get("item_id")), response_of(event))

    def _finish(self) -> list[Command]:
        """Move on what was heard, and write the turns that are over."""
        for turn in self._turns.values():
            if turn.spoken:
                played, given = self._playback.played(turn.item), self._playback.given(turn.item)
                self._pace.hear(turn, played / RATE, given / RATE)
        over = [] if self._flushing else list(self._over())
        return [Show(said) for said in map(self._close, over) if said.text]

    def _over(self) -> Iterator[Turn]:
        for turn in self._turns.values():
            played = self._playback.played(turn.item)
            if turn.cut or (turn.whole and played == self._playback.given(turn.item)):
                yield turn

    def _close(self, turn: Turn) -> Said:
        if turn.spoken and not turn.cut:
            self._pace.learn(turn, self._playback.given(turn.item) / RATE)
        del self._turns[turn.item]
        self._playback.forget(turn.item)
        said = Said(turn.speaker, turn.heard.strip(), turn.cut)
        if said.text and not turn.lost:
            self._said.append(said)
        return said
