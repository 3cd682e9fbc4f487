"""Recordings to text, subtitles or JSON through the REST API, with a progress bar.

Run it by itself with `python -m clients.transcribe --help`. It needs aiohttp and rich, and PyAV to
know how long a recording is; it speaks only the wire. Subtitles need a server that sends times
with its stream, as ours does when asked for segments.

One file goes to stdout; several go there under a `==> name <==` line each. With `output` each goes
to `DIR/name.txt` (or .srt, .vtt, .json) instead, which replaces what was there.
"""

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Never, get_args

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from rich.console import Console
from rich.text import Text

from clients.meter import Meter
from clients.transcripts import Format, Segment, Transcript, render
from clients.wire import (
    DEFAULT_MODEL,
    DEFAULT_URL,
    ClientError,
    Unavailable,
    api_key,
    as_text,
    error_message,
    headers,
    is_loopback,
    refusal,
    rest_url,
    tls,
    unreachable,
)

_PIECE = 256 * 1024
_SILENT_SECONDS = 300.0
"""A server that neither takes nor sends anything for this long is given up."""
_ATTEMPTS = 4
_LONGEST_WAIT = 30.0
_MOST_LINE = 16 * 2**20


@dataclass(frozen=True, slots=True)
class TranscribeOptions:
    """How to transcribe; `output` is a folder, made if need be."""

    url: str = DEFAULT_URL
    api_key: str | None = None
    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    format: Format = "txt"
    output: Path | None = None
    verify_tls: bool = True


class _Busy(ClientError):
    """The server has no room now."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


async def transcribe(
    files: Sequence[Path],
    options: TranscribeOptions,
    console: Console,
    errors: Console | None = None,
) -> int:
    """Write every file's transcript to `console` or into the output folder; 1 if one failed.

    `errors` (stderr) gets the progress bar and a line for each failure; the other files go on.
    Raises `ClientError` where nothing can go on: no server, or two files with one target.
    """
    errors = errors or Console(stderr=True)
    targets = _targets(files, options)
    failed = False
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    proxied = not is_loopback(options.url)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=proxied) as session:
        for file, target in zip(files, targets, strict=True):
            try:
                text = await _Recording(file, options, session).text(errors)
                if target:
                    await asyncio.to_thread(_write, target, text)
            except Unavailable:
                raise
            except ClientError as error:
                errors.print(Text(f"{file}: {error}"), soft_wrap=True)
                failed = True
                continue
            if target is None:
                title = f"==> {file} <==\n" if len(files) > 1 else ""
                console.out(title + text, highlight=False, end="")
    return int(failed)


class _Recording:
    """One file on its way through the server."""

    def __init__(
        self, path: Path, options: TranscribeOptions, session: aiohttp.ClientSession
    ) -> None:
        self._path = path
        self._options = options
        self._session = session

    async def text(self, console: Console) -> str:
        """The transcript as it is to be written. Raises `ClientError`."""
        try:
            file = await asyncio.to_thread(_open, self._path)
        except OSError as error:
            raise ClientError(f"cannot be read: {error.strerror or error}.") from error
        with file:
            meter = await asyncio.to_thread(Meter, self._path, console)
            with meter:
                transcript = await self._persist(file, meter)
        if self._options.format in ("srt", "vtt") and transcript.text and not transcript.segments:
            raise ClientError(
                f"The server sent no times, which {self._options.format} needs."
                " --format txt works without."
            )
        return render(transcript, self._options.format)

    async def _persist(self, file: BinaryIO, meter: Meter) -> Transcript:
        """Ask, and ask again after the pause that a full server asks for."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._ask(file, meter)
            except _Busy as busy:
                if attempt == _ATTEMPTS:
                    raise
                meter.waiting(str(busy))
                await asyncio.sleep(busy.retry_after)
        raise AssertionError("the last attempt returns or raises")

    async def _ask(self, file: BinaryIO, meter: Meter) -> Transcript:
        url = self._options.url
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_SILENT_SECONDS) as limit:

                def alive(_: int = 0) -> None:
                    limit.reschedule(loop.time() + _SILENT_SECONDS)

                return await self._post(file, meter, alive)
        except aiohttp.ClientConnectorError as error:
            cause = getattr(error, "certificate_error", None) or error.os_error
            raise unreachable(url, cause) from error
        except aiohttp.ServerTimeoutError as error:
            raise unreachable(url, error) from error
        except TimeoutError as error:
            raise ClientError(f"{url} said nothing for {_SILENT_SECONDS:.0f} s.") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ClientError(f"The connection to {url} was lost: {reason}.") from error

    async def _post(self, file: BinaryIO, meter: Meter, alive: Callable[[], None]) -> Transcript:
        options = self._options

        def sent(count: int) -> None:
            alive()
            meter.sent(count)

        await asyncio.to_thread(file.seek, 0)
        meter.begin(os.fstat(file.fileno()).st_size)
        async with self._session.post(
            rest_url(options.url, "audio/transcriptions"),
            data=self._form(_Upload(file, self._path.name, sent)),
            headers=headers(api_key(options.api_key)),
            ssl=tls(options.url, options.verify_tls) or True,
        ) as response:
            if response.status != 200:
                await _refuse(response)
            if response.content_type != "text/event-stream":
                return _whole(await response.read())
            return await _collect(_alive(response.content.iter_any(), alive), meter)

    def _form(self, upload: "_Upload") -> aiohttp.MultipartWriter:
        """The request's body. The file comes last, so that the server knows what to do with it."""
        options = self._options
        fields = {
            "model": options.model or DEFAULT_MODEL,
            "language": options.language,
            "prompt": options.prompt,
            "response_format": "json",
            "stream": "true",
            "timestamp_granularities[]": "segment",
        }
        form = aiohttp.MultipartWriter("form-data")
        for name, value in fields.items():
            if value:
                form.append(value).set_content_disposition("form-data", name=name)
        part = form.append_payload(upload)
        part.set_content_disposition(
            "form-data", quote_fields=False, name="file", filename=_sendable(self._path.name)
        )
        return form


class _Upload(Payload):
    """A file that is read as it is sent; `sent` is told how many bytes went."""

    def __init__(self, file: BinaryIO, name: str, sent: Callable[[int], None]) -> None:
        super().__init__(file, filename=name)
        self._size = os.fstat(file.fileno()).st_size
        self._sent = sent

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a recording is not text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        left = self._size or 0
        while left and (data := await asyncio.to_thread(self._value.read, min(_PIECE, left))):
            await writer.write(data)
            left -= len(data)
            self._sent(len(data))


async def _refuse(response: aiohttp.ClientResponse) -> Never:
    """Raise what a status other than 200 means."""
    message = refusal(response.status, await response.content.read(_PIECE))
    if response.status in (429, 503):
        asked = response.headers.get("Retry-After", "")
        seconds = float(asked) if asked.replace(".", "", 1).isdecimal() else 1.0
        raise _Busy(message, min(seconds, _LONGEST_WAIT))
    raise ClientError(message)


def _whole(body: bytes) -> Transcript:
    """The answer of a server that does not stream."""
    try:
        return Transcript(str(json.loads(body)["text"]).strip())
    except (ValueError, KeyError, TypeError):
        raise ClientError("The server's answer is not a transcript.") from None


async def _collect(chunks: AsyncIterable[bytes], meter: Meter) -> Transcript:
    """The transcript that a stream of events tells piece by piece."""
    segments: list[Segment] = []
    async for event in events(chunks):
        if event.get("error"):
            raise ClientError(error_message(json.dumps(event).encode()) or "The server failed.")
        match event:
            case {
                "type": "transcript.text.delta",
                "delta": str(text),
                "start": int() | float() as start,
                "end": int() | float() as end,
            }:
                segments.append(Segment(start, end, text.strip()))
                meter.heard(end)
            case {"type": "transcript.text.done"}:
                return Transcript(as_text(event.get("text")).strip(), tuple(segments))
    raise ClientError("The server's stream ended before the transcript did.")


async def events(chunks: AsyncIterable[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a server-sent event stream; comments and `[DONE]` are left out.

    Every record is taken to be one `data:` line, as OpenAI's are. Raises `ClientError`.
    """
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _MOST_LINE:
            raise ClientError("The server's stream has a line of more than 16 MiB.")
        for line in lines:
            field, _, value = line.rstrip(b"\r").partition(b":")
            if field != b"data" or value.strip() == b"[DONE]":
                continue
            try:
                event = json.loads(value)
            except ValueError:
                raise ClientError("The server's stream is not JSON.") from None
            if isinstance(event, dict):
                yield event


async def _alive(chunks: AsyncIterable[bytes], alive: Callable[[], None]) -> AsyncIterator[bytes]:
    """`chunks`, with a call for each, comments included."""
    async for chunk in chunks:
        alive()
        yield chunk


def _targets(files: Sequence[Path], options: TranscribeOptions) -> list[Path | None]:
    """Where each file's transcript goes; None is the console."""
    folder = options.output
    if folder is None:
        return [None] * len(files)
    stems = Counter(file.stem for file in files)
    targets: list[Path | None] = []
    for file in files:
        name = file.stem if stems[file.stem] == 1 else file.name
        target = folder / f"{name}.{options.format}"
        if target in targets or any(target.resolve() == other.resolve() for other in files):
            raise ClientError(f"{target} would be written twice. Use another folder for one.")
        targets.append(target)
    return targets


def _open(path: Path) -> BinaryIO:
    """A file, which can be sent again and whose size is known; a pipe might also never open."""
    if not path.is_dir() and not path.is_file() and path.exists():
        raise ClientError("cannot be read: it is a pipe or a device; save the sound to a file.")
    return path.open("rb")


def _sendable(name: str) -> str:
    """A file's name as a header can hold it: it may have any bytes, old archives' have."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _write(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ClientError(f"{target} cannot be written: {error.strerror}.") from error


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="transcribe", description="Recordings to text.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--url", default=DEFAULT_URL, help="the server (%(default)s)")
    parser.add_argument("--api-key", help="else ANTIPHON_API_KEY or OPENAI_API_KEY")
    parser.add_argument("--model", help="else the server's default")
    parser.add_argument("--language", help="ISO 639-1, such as de")
    parser.add_argument("--prompt", help="words or style to expect")
    parser.add_argument("--format", choices=get_args(Format), default="txt")
    parser.add_argument("--output", type=Path, metavar="DIR", help="a file each, in this folder")
    parser.add_argument("--no-verify", dest="verify_tls", action="store_false")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    given = vars(_arguments(arguments))
    files = given.pop("files")
    try:
        return asyncio.run(transcribe(files, TranscribeOptions(**given), Console()))
    except ClientError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
