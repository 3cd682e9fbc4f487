"""What clients do with the items of a conversation: create, retrieve, truncate and delete them, and
refer to them. No I/O."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pipelines.conversation import Conversation, DuplicateItem, NoSuchItem
from pipelines.frames import Audio, Commit
from pipelines.items import InputAudio, Item, Message, OutputAudio, Reference
from realtime.actions import Action, Push
from realtime.conversation_settings import ResponseRequest
from realtime.ear import Ear
from realtime.events import CreateItem, DeleteItem, RetrieveItem, TruncateItem
from realtime.fields import SettingsError
from realtime.items import read_item, to_wire
from realtime.protocol import MAX_RETRIEVED_AUDIO, no_item
from realtime.transcribing import Transcribing
from realtime.wire import Wire

SOUND_SECONDS = 60
"""Longest sound that an item from the client may bring."""


class ConversationItems:
    """Answers events about items. `images`: whether the language model takes any; `audio_of` gives
    an item's wire audio where it was kept. Methods raise `SettingsError` for what a client did
    wrong."""

    def __init__(
        self,
        wire: Wire,
        conversation: Conversation,
        transcribing: Transcribing,
        ear: Ear,
        *,
        images: bool,
        audio_of: Callable[[str], bytes | None],
    ) -> None:
        self._wire = wire
        self._conversation = conversation
        self._transcribing = transcribing
        self._ear = ear
        self._images = images
        self._audio_of = audio_of

    def create(self, event: CreateItem, taken: str | None = None) -> list[Action]:
        """Answer `conversation.item.create`; sound that comes with it is given to be understood.

        `taken` is the id of an item that is still to come."""
        item = read_item(event.item, "item", images=self._images)
        if isinstance(item, Reference):
            message = "Items can be referred to in 'response.create' only."
            raise SettingsError("invalid_value", message, "item.type")
        self._check_sound(item)
        item.id = item.id or self._wire.new_id("item")
        try:
            if item.id == taken:
                raise DuplicateItem(item.id)
            previous = self._conversation.insert(item, event.previous_item_id)
        except DuplicateItem:
            message = f"Error adding item: an item with id '{item.id[:64]}' already exists."
            raise SettingsError("item_create_invalid_item_id", message, "item.id") from None
        except NoSuchItem as error:
            message = (
                f"Error adding item: the previous item with id '{str(error)[:64]}' does not exist."
            )
            raise SettingsError(
                "item_create_invalid_previous_item_id", message, "previous_item_id"
            ) from None
        heard = self._hear(item)
        return [*self.events(item, previous), *heard]

    def _hear(self, item: Item) -> list[Action]:
        """Have the sound that came with an item understood, like speech."""
        sounds = _sounds(item)
        if not sounds:
            return []
        samples = np.concatenate([self._ear.decode(part.audio) for part in sounds])
        for part in sounds:
            part.transcript, part.audio = "", b""
        if not len(samples):
            return []
        sounds[0].transcript, sounds[0].samples = None, len(samples)
        told = self._transcribing.commit(item.id, len(samples))
        sound = Audio(samples, 0, item.id)
        return [*told, Push(sound), Push(Commit(item.id, 0, sound.end))]

    def _check_sound(self, item: Item) -> None:
        """More would keep the event loop, and belongs into the buffer."""
        rate = self._ear.format.bytes_per_second
        if sum(len(part.audio) for part in _sounds(item)) > SOUND_SECONDS * rate:
            message = (
                f"An item may bring {SOUND_SECONDS} seconds of audio. Append more than that to the "
                "input audio buffer."
            )
            raise SettingsError("invalid_value", message, "item.content")

    def events(self, item: Item, previous: str | None) -> list[Action]:
        """What the client is told of an item that is whole from the start."""
        fields = {"previous_item_id": previous, "item": to_wire(item)}
        names = ("conversation.item.added", "conversation.item.done")
        return [self._wire.event(name, **fields) for name in names]

    def retrieve(self, event: RetrieveItem) -> Action:
        """Answer `conversation.item.retrieve`, with sound where it was kept."""
        item = self._conversation.get(event.item_id)
        if item is None:
            return no_item(self._wire, "retriev", event.item_id, event.event_id)
        shown = to_wire(item)
        audio = self._audio_of(item.id)
        if audio is not None and len(audio) <= MAX_RETRIEVED_AUDIO and isinstance(item, Message):
            for part in shown["content"]:
                if part["type"] in ("input_audio", "output_audio"):
                    part["audio"] = base64.b64encode(audio).decode()
        return self._wire.event("conversation.item.retrieved", item=shown)

    def truncate(self, event: TruncateItem) -> Action:
        """Answer `conversation.item.truncate`: only so much was heard."""
        match self._conversation.get(event.item_id):
            case None:
                return no_item(self._wire, "truncat", event.item_id, event.event_id)
            case Message(content=[OutputAudio()]) if event.content_index == 0:
                said = self._conversation.said(event.item_id)
            case _:
                message = "Only the sound of the assistant's messages can be truncated."
                raise SettingsError("invalid_value", message, "item_id")
        length = round(said.seconds * 1000)
        if event.audio_end_ms > length:
            message = f"Audio content of {length}ms is already shorter than {event.audio_end_ms}ms"
            raise SettingsError("invalid_value", message, "audio_end_ms")
        self._conversation.cut(event.item_id, event.audio_end_ms / 1000)
        return self._wire.event(
            "conversation.item.truncated",
            item_id=event.item_id,
            content_index=0,
            audio_end_ms=event.audio_end_ms,
        )

    def delete(self, event: DeleteItem) -> Action:
        """Answer `conversation.item.delete`."""
        try:
            self._conversation.remove(event.item_id)
        except NoSuchItem:
            return no_item(self._wire, "delet", event.item_id, event.event_id)
        self._transcribing.delete(event.item_id)
        return self._wire.event("conversation.item.deleted", item_id=event.item_id)

    def read_input(self, request: ResponseRequest) -> tuple[Item, ...] | None:
        """The items that a response shall answer instead of the conversation."""
        if request.input is None:
            return None
        return tuple(
            self._input_item(written, f"response.input[{index}]")
            for index, written in enumerate(request.input)
        )

    def _input_item(self, written: Mapping[str, Any], path: str) -> Item:
        item = read_item(written, path, images=self._images)
        if isinstance(item, Reference):
            found = self._conversation.get(item.id)
            if found is None:
                message = f"The item with id '{item.id[:64]}' does not exist."
                raise SettingsError("invalid_value", message, f"{path}.id")
            return found
        if _sounds(item):
            message = "Add the audio to the conversation first, and refer to its item here."
            raise SettingsError("invalid_value", message, path)
        return item


def _sounds(item: Item) -> list[InputAudio]:
    """The parts whose text is not known."""
    if not isinstance(item, Message):
        return []
    parts = [part for part in item.content if isinstance(part, InputAudio)]
    return [part for part in parts if part.transcript is None]
