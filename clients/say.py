"""Text to speech in a terminal through the REST API: heard as it is made, or written to a file.

Run it by itself with `python -m clients.say --help`. It needs aiohttp and, to play, sounddevice;
it speaks only the wire, so any OpenAI-compatible server will do.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import aiohttp

from clients.sinks import FileSink, Sink, SpeakerSink
from clients.wire import (
    DEFAULT_URL,
    ClientError,
    api_key,
    headers,
    is_loopback,
    refusal,
    rest_url,
    tls,
    unreachable,
)

DEFAULT_SPEECH_MODEL: Final = "tts-1"
"""The name that OpenAI-compatible servers resolve to their default speech model."""

_SILENT_SECONDS: Final = 300.0
"""A server that sends nothing for this long is given up."""
_MOST_TEXT: Final = 4 * 2**20
_MOST_REFUSAL: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class SayOptions:
    """How to say it and whom to ask; without `output` it is played on `device`."""

    url: str = DEFAULT_URL
    api_key: str | None = None
    model: str | None = None
    voice: str | None = None
    speed: float = 1.0
    output: Path | None = None
    device: str | None = None
    verify_tls: bool = True


def sink_for(options: SayOptions) -> Sink:
    """Where the speech goes. Raises `ClientError` for a file of no known format."""
    return SpeakerSink(options.device) if options.output is None else FileSink(options.output)


async def say(text: str, options: SayOptions, sink: Sink) -> None:
    """Have `text` said into `sink`, which is entered already. Raises `ClientError`."""
    body: dict[str, Any] = {
        "model": options.model or DEFAULT_SPEECH_MODEL,
        "input": text,
        "response_format": sink.format,
        "speed": options.speed,
    }
    if options.voice is not None:
        body["voice"] = options.voice
    async with _asked(options, body) as sound:
        async for data in sound:
            await sink.write(data)
    await sink.finish()


@asynccontextmanager
async def _asked(options: SayOptions, body: dict[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
    """The bytes that answer a request. Raises `ClientError`, also inside the block."""
    url = options.url
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_SILENT_SECONDS)
    proxied = not is_loopback(url)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=proxied) as session,
            session.post(
                rest_url(url, "audio/speech"),
                json=body,
                headers=headers(api_key(options.api_key)),
                ssl=tls(url, options.verify_tls) or True,
            ) as response,
        ):
            if response.status != 200:
                said = await response.content.read(_MOST_REFUSAL)
                raise ClientError(refusal(response.status, said))
            yield response.content.iter_any()
    except aiohttp.ClientConnectorError as error:
        cause = getattr(error, "certificate_error", None) or error.os_error
        raise unreachable(url, cause) from error
    except aiohttp.ServerTimeoutError as error:
        raise unreachable(url, error) from error
    except (aiohttp.ClientError, ConnectionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClientError(f"The connection to {url} was lost: {reason}.") from error


def text_of(text: str | None, file: Path | None, stdin: TextIO) -> str:
    """What to say: `text` itself, the content of `file`, or that of `stdin` for `-` or neither.

    Blocks. Raises `ClientError`.
    """
    if text is not None and file is not None:
        raise ClientError("Give a text or a file, not both.")
    if file is not None:
        found = _read_file(file)
    elif text is None and stdin.isatty():
        raise ClientError("There is nothing to say. Give a text, a --file, or - for stdin.")
    elif text is None or text == "-":
        found = _decoded(stdin.buffer.read(_MOST_TEXT + 1), "The text on stdin")
    else:
        found = text
    if not found.strip():
        raise ClientError("There is nothing to say: the text is empty.")
    return found


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_TEXT + 1)
    except OSError as error:
        raise ClientError(f"{path} cannot be read: {error.strerror or error}.") from error
    return _decoded(data, str(path))


def _decoded(data: bytes, what: str) -> str:
    if len(data) > _MOST_TEXT:
        raise ClientError(f"{what} is longer than {_MOST_TEXT >> 20} MiB.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClientError(f"{what} is not text in UTF-8.") from error


async def _main(text: str, options: SayOptions) -> None:
    async with sink_for(options) as sink:
        await say(text, options, sink)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="say", description="Text to speech.")
    parser.add_argument("text", nargs="?", help="what to say; - or nothing: stdin")
    parser.add_argument("--file", type=Path, help="say what is in this file")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write, do not play")
    parser.add_argument("--device", help="loudspeaker, by name or number")
    parser.add_argument("--voice", help="else the server's default")
    parser.add_argument("--model", help="else the server's default")
    parser.add_argument("--speed", type=float, default=1.0, help="0.25 to 4 (%(default)s)")
    parser.add_argument("--url", default=DEFAULT_URL, help="the server (%(default)s)")
    parser.add_argument("--api-key", help="else ANTIPHON_API_KEY or OPENAI_API_KEY")
    parser.add_argument("--no-verify", dest="verify_tls", action="store_false")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    given = vars(_arguments(arguments))
    try:
        text = text_of(given.pop("text"), given.pop("file"), sys.stdin)
        asyncio.run(_main(text, SayOptions(**given)))
    except ClientError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
