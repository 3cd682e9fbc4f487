"""Reads multipart/form-data as it arrives: the file goes to disk, in batches, off the loop."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Final, ParamSpec, TypeVar, cast

from aiohttp import BodyPartReader, ClientPayloadError, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from routes.errors import ApiError, invalid, missing

_T = TypeVar("_T")
_P = ParamSpec("_P")

CHUNK_BYTES: Final = 1 << 16
BATCH_BYTES: Final = 1 << 18
IN_MEMORY_BYTES: Final = 1 << 18
FIELD_BYTES: Final = 1 << 16
FIELDS: Final = 100
IDLE_SECONDS: Final = 60.0
"""An upload that brings nothing for this long is given up."""


@dataclass(slots=True)
class Form:
    """What a form brought: the values of each field, in order, and its one file, from its start."""

    file: BinaryIO
    fields: dict[str, list[str]] = field(default_factory=dict)


@asynccontextmanager
async def read_form(
    request: web.Request, *, names: Collection[str], max_file_bytes: int
) -> AsyncIterator[Form]:
    """The whole form; its file lasts as long as the context.

    Only the fields in `names` are kept, `name[]` among `name`; others are read and forgotten, and
    so are empty values. Raises the `ApiError` for a form that is too big, broken or without
    a file.
    """
    _check_head(request, max_file_bytes)
    spool = _Spool(max_file_bytes)
    try:
        fields = await _read_parts(await _read(request.multipart()), spool, names)
        yield Form(await spool.rewound(), fields)
    finally:
        await spool.close()


def _check_head(request: web.Request, max_file_bytes: int) -> None:
    if request.content_type != "multipart/form-data":
        raise ApiError(400, "The body must be multipart/form-data, with the audio as 'file'.")
    other = FIELD_BYTES * FIELDS
    if request.content_length is not None and request.content_length > max_file_bytes + other:
        raise _too_big(max_file_bytes)


async def _read_parts(
    reader: MultipartReader, spool: "_Spool", names: Collection[str]
) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    count = 0
    while (part := await _read(reader.next())) is not None:
        count += 1
        if count > FIELDS:
            raise ApiError(400, f"The form has more than {FIELDS} fields.")
        if not isinstance(part, BodyPartReader):
            raise _broken()
        name = (part.name or "").removesuffix("[]")
        if name == "file":
            await _read_file(part, spool)
        elif value := (await _read_field(part, name, kept=name in names)):
            fields.setdefault(name, []).append(value)
    return fields


async def _read_file(part: BodyPartReader, spool: "_Spool") -> None:
    if spool.used:
        raise invalid("file", "The form has more than one 'file'.")
    spool.used = True
    while not part.at_eof():
        await spool.write(await _read(part.read_chunk(CHUNK_BYTES)))
    await spool.flush()


async def _read_field(part: BodyPartReader, name: str, *, kept: bool) -> str:
    """The field's text; a field that is not kept may be longer, and gives none."""
    value = bytearray()
    size = 0
    while not part.at_eof():
        chunk = await _read(part.read_chunk(CHUNK_BYTES))
        size += len(chunk)
        if size > (FIELD_BYTES if kept else FIELD_BYTES * FIELDS):
            raise invalid(name, f"The field '{name[:100]}' is longer than {FIELD_BYTES} bytes.")
        if kept:
            value += chunk
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise invalid(name, f"The field '{name[:100]}' is not UTF-8 text.") from None


async def _read(awaitable: Awaitable[_T]) -> _T:
    """What the parser gives next, with its many exceptions for a broken body as one."""
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            return await awaitable
    except TimeoutError:
        raise ApiError(
            408, f"The upload brought nothing for {IDLE_SECONDS:.0f} seconds.", code="timeout"
        ) from None
    except (ValueError, RuntimeError, HttpProcessingError, ClientPayloadError) as error:
        raise _broken() from error


def _broken() -> ApiError:
    return ApiError(400, "The body is not valid multipart/form-data.")


def _too_big(limit: int) -> ApiError:
    return ApiError(
        413,
        f"The file is larger than {limit} bytes ({limit / 2**20:.0f} MiB), the most this server "
        "takes. Send it in parts or compressed, or raise the setting 'limits.upload_bytes'.",
        code="file_too_large",
        param="file",
    )


class _Spool:
    """A file that grows batch by batch; small ones never leave memory."""

    def __init__(self, max_bytes: int) -> None:
        self.used = False
        self._max_bytes = max_bytes
        self._size = 0
        self._pending = bytearray()
        file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 (see close)
        self._file = cast(BinaryIO, file)

    async def write(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._max_bytes:
            raise _too_big(self._max_bytes)
        self._pending += chunk
        if len(self._pending) >= BATCH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        batch, self._pending = self._pending, bytearray()
        await _in_thread(self._file.write, batch)

    async def rewound(self) -> BinaryIO:
        if not self.used:
            raise missing("file")
        if not self._size:
            raise invalid("file", "The file is empty.")
        await _in_thread(self._file.seek, 0)
        return self._file

    async def close(self) -> None:
        await _in_thread(self._file.close)


async def _in_thread(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """`asyncio.to_thread`, which when cancelled ends no earlier than the call: files stay whole."""
    running = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise
