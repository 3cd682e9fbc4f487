"""What a conversation is held with: microphone, loudspeaker, keyboard."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from rich.console import Console

from clients.keyboard import Keyboard, single_keys
from clients.player import Player, output_devices
from clients.sources import MicrophoneSource, input_devices
from clients.talk_options import TalkOptions
from clients.talk_screen import LiveScreen, TalkScreen, TypingScreen


@dataclass(frozen=True, slots=True)
class Devices:
    """What there is of them; `interactive`: a person sits at the keyboard."""

    microphone: MicrophoneSource | None
    player: Player | None
    keyboard: Keyboard | None
    interactive: bool


@asynccontextmanager
async def open_devices(options: TalkOptions, stdin: int = 0) -> AsyncIterator[Devices]:
    """What a conversation with these options needs. Raises `ClientError`."""
    interactive = os.isatty(stdin)
    async with AsyncExitStack() as stack:
        player = microphone = keyboard = None
        if options.spoken:
            player = await stack.enter_async_context(Player(options.output))
        if not options.text:
            source = MicrophoneSource(options.input, "--input")
            microphone = await stack.enter_async_context(source)
            if interactive:
                stack.enter_context(single_keys(stdin))
        if options.text or interactive:
            keyboard = Keyboard(stdin)
        yield Devices(microphone, player, keyboard, interactive)


def screen_for(options: TalkOptions, devices: Devices, console: Console) -> TalkScreen:
    """Where the words go."""
    typing = options.text and devices.interactive and console.is_terminal
    return TypingScreen(console) if typing else LiveScreen(console)


def list_devices(console: Console) -> None:
    """Print the microphones and loudspeakers. Raises `ClientError`."""
    for title, found in (("microphones", input_devices()), ("loudspeakers", output_devices())):
        console.out(f"{title}:", highlight=False)
        for number, name in found:
            console.out(f"  {number}: {name}", highlight=False)
