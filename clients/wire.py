"""What the client programs share: addresses, keys, and failures put into one sentence."""

import json
import os
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    WebSocketException,
)

DEFAULT_URL = "http://127.0.0.1:8800"
DEFAULT_MODEL = "whisper-1"
"""The name that OpenAI-compatible servers resolve to their default transcription model."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_MAX_EVENT = 32 * 2**20
_FINAL_CODES = frozenset({1002, 1003, 1007, 1008, 1009, 1010})


class ClientError(Exception):
    """Why a client cannot go on; the message is one line that says what to do."""


class Unavailable(ClientError):
    """The server cannot be reached or is full just now; trying again may help."""


def api_key(given: str | None = None) -> str | None:
    """The key to send: the one given, else ANTIPHON_API_KEY, else OPENAI_API_KEY.

    Raises `ClientError` for one that no header can hold.
    """
    key = given or os.environ.get("ANTIPHON_API_KEY") or os.environ.get("OPENAI_API_KEY") or None
    if key and not (key.isascii() and key.isprintable()):
        raise ClientError("The API key may only hold printable ASCII characters, no line's end.")
    return key


def headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def rest_url(url: str, path: str) -> str:
    """The address of a REST route; `url` is the server's, with or without `/v1` at its end."""
    return f"{_base(url).geturl()}/v1/{path}"


def realtime_url(url: str, query: Mapping[str, str]) -> str:
    """The WebSocket's address on the server at `url`."""
    base = _base(url)
    scheme = "wss" if base.scheme == "https" else "ws"
    return f"{base._replace(scheme=scheme).geturl()}/v1/realtime?{urlencode(query)}"


def is_loopback(url: str) -> bool:
    return _base(url).hostname in _LOOPBACK


def tls(url: str, verify: bool) -> ssl.SSLContext | None:
    """How to check the server's certificate; None for a plain connection."""
    if _base(url).scheme != "https":
        return None
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def open_socket(url: str, query: Mapping[str, str], key: str | None, verify: bool) -> connect:
    """A Realtime WebSocket, to be entered with `async with`.

    Base64 audio does not compress, and a proxy has no business on the way to this machine.
    """
    return connect(
        realtime_url(url, query),
        additional_headers=headers(key),
        compression=None,
        max_size=_MAX_EVENT,
        close_timeout=2,
        proxy=None if is_loopback(url) else True,
        ssl=tls(url, verify),
    )


def refusal(status: int, body: bytes) -> str:
    """The sentence in an HTTP answer that refuses: OpenAI's error shape, else the status."""
    if status in (401, 403):
        advice = " Give the server's key with --api-key or ANTIPHON_API_KEY."
    else:
        advice = ""
    return f"{error_message(body) or f'The server answered with status {status}.'}{advice}"


def error_message(body: bytes) -> str | None:
    """The message of an error body `{"error": {"message": …}}`, on one line."""
    try:
        error = json.loads(body)["error"]
        message = error if isinstance(error, str) else error["message"]
    except (ValueError, KeyError, TypeError):
        return None
    return " ".join(str(message).split())


def unreachable(url: str, error: BaseException) -> ClientError:
    """What a failure to connect, or to stay connected, means to the user."""
    match error:
        case InvalidStatus():
            status = error.response.status_code
            message = refusal(status, error.response.body or b"")
            retry = status in (408, 429) or status >= 500
            return Unavailable(message) if retry else ClientError(message)
        case ssl.SSLCertVerificationError():
            return ClientError(
                f"The certificate of {url} is not trusted ({error.verify_message}). If it is your"
                " own, add --no-verify or name it in SSL_CERT_FILE."
            )
        case ssl.SSLError() | InvalidMessage():
            return ClientError(
                f"{url} does not answer as expected. Check http:// or https:// and the port."
            )
        case TimeoutError():
            return Unavailable(f"{url} does not answer in time. Is the server busy or starting?")
        case OSError():
            return Unavailable(
                f"No server answers at {url}. Start one with: antiphon serve, or give its --url."
            )
        case _:
            return Unavailable(f"The connection to {url} failed: {' '.join(str(error).split())}")


CONNECT_FAILURES = (OSError, InvalidHandshake, WebSocketException, TimeoutError)
"""What opening a socket raises when it does not succeed."""


def lost(error: ConnectionClosed) -> ClientError:
    """Why an open connection ended; the codes that end a session for good are OpenAI's."""
    code = error.rcvd.code if error.rcvd else 1006
    reason = " ".join(error.rcvd.reason.split()) if error.rcvd else ""
    if code >= 3000 or code in _FINAL_CODES:
        return ClientError(f"The server ended the session: {reason or f'code {code}'}")
    return Unavailable(f"The connection was lost ({reason or f'code {code}'}).")


def pauses(first: float = 0.5, longest: float = 8.0) -> Iterator[float]:
    """Seconds to wait before each next attempt to connect: doubling, then constant."""
    pause = first
    while True:
        yield pause
        pause = min(2 * pause, longest)


def clock(seconds: float) -> str:
    """`mm:ss`, or `h:mm:ss` from an hour on."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:02}:{second:02}"


def read_event(message: str | bytes) -> dict[str, Any]:
    """A server event; `{}` for what is none."""
    try:
        event = json.loads(message)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def refused(event: Mapping[str, Any]) -> ClientError:
    """What an `error` event in answer to the first `session.update` means."""
    error = as_object(event.get("error"))
    message = as_text(error.get("message")) or "The server refused the session."
    if error.get("type", "invalid_request_error") == "invalid_request_error":
        return ClientError(message)
    return Unavailable(message)


def as_object(value: Any) -> Mapping[str, Any]:
    """A field that should be an object, whatever the server put there."""
    return value if isinstance(value, dict) else {}


def as_text(value: Any) -> str:
    """A field that should be text, whatever the server put there."""
    return value if isinstance(value, str) else ""


def _base(url: str) -> SplitResult:
    """The server's address, without `/v1`, query and trailing slashes."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
        (parts.hostname or "").encode("idna")  # as DNS will
    except ValueError:
        good = None
    if not good:
        raise ClientError(f"'{url}' is not a server's address. An example: {DEFAULT_URL}")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return parts._replace(path=path, query="", fragment="")
