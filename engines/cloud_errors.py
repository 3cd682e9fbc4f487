"""What a provider's refusals and lost connections become here: sentences about that provider."""

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from engines.base import Busy, EngineError, InvalidInput, ModelNotFound, ProviderError
from engines.endpoints import Endpoint
from engines.generation import ContextLengthExceeded

CONNECT_SECONDS = 10.0
"""A provider that has not taken the connection by then cannot be reached."""
LONGEST_RETRY = 3600.0
MESSAGE_CHARACTERS = 1000
NO_REASON = "it gave no reason."


class NoSuchRemoteModel(ModelNotFound):
    """The provider does not have the model."""

    def __init__(self, provider: str, name: str, reason: str) -> None:
        EngineError.__init__(self, f"The provider '{provider}' has no model '{name}': {reason}")
        self.provider = provider
        self.name = name
        self.reason = reason
        self.available = ()

    def __reduce__(self) -> Any:
        return type(self), (self.provider, self.name, self.reason)


class NoSuchPath(ProviderError):
    """The provider has nothing at the address that was asked for."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that has not a good status; `body` may be cut off."""

    status: int
    body: bytes = b""
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class _Told:
    message: str = NO_REASON
    code: str = ""
    param: str | None = None


def refused(endpoint: Endpoint, model: str, refusal: Refusal) -> EngineError:
    """What a refusal means to our caller."""
    who = f"The provider '{endpoint.name}'"
    told = _told(endpoint, refusal.body)
    match refusal.status:
        case 401 | 403:
            return key_refused(endpoint, refusal.status)
        case 400 | 413 | 422:
            error = ContextLengthExceeded if _is_too_long(told) else InvalidInput
            return error(f"{who} refused the request: {told.message}", told.param)
        case 404 if "model" in f"{told.code} {told.message}".lower():
            return NoSuchRemoteModel(endpoint.name, model, told.message)
        case 404:
            return NoSuchPath(f"{who} does not have what was asked for (404); check its base_url.")
        case 429:
            return Busy(f"{who} is busy: {told.message}", seconds(refusal.retry_after))
        case status if status < 400:
            return moved(endpoint, status)
        case status:
            return ProviderError(f"{who} failed ({status}): {told.message}")


def key_refused(endpoint: Endpoint, status: int) -> ProviderError:
    """The provider's own words are left out: they tend to repeat a part of the key."""
    if status == 403:
        reason = "does not allow this with the API key that is configured for it"
    elif endpoint.api_key:
        reason = "refused the API key that is configured for it"
    else:
        reason = "wants an API key, and none is configured for it"
    return ProviderError(f"The provider '{endpoint.name}' {reason} ({status}).")


def moved(endpoint: Endpoint, status: int) -> ProviderError:
    """Redirections are not followed: the key would go along."""
    return ProviderError(
        f"The provider '{endpoint.name}' points to another address ({status}); check its base_url."
    )


def unreachable(endpoint: Endpoint, error: Exception) -> EngineError:
    """What became of a request that got no answer."""
    from httpx2 import ConnectTimeout, PoolTimeout, ReadTimeout

    match error:
        case PoolTimeout():
            return Busy(f"All connections to the provider '{endpoint.name}' are in use.")
        case ConnectTimeout():
            reason = f"no connection within {CONNECT_SECONDS:g} seconds."
        case ReadTimeout():
            reason = "it took the request and did not answer in time."
        case _:
            reason = _reason(endpoint, error)
    return ProviderError(f"The provider '{endpoint.name}' could not be reached: {reason}")


def broken_off(endpoint: Endpoint, error: Exception | None = None) -> ProviderError:
    """What became of an answer that did not come to its end."""
    from httpx2 import ReadTimeout

    match error:
        case None:
            reason = "it ended too early."
        case ReadTimeout():
            reason = "it fell silent."
        case _:
            reason = _reason(endpoint, error)
    return ProviderError(f"The provider '{endpoint.name}' broke off its answer: {reason}")


def failed_midway(endpoint: Endpoint, data: bytes) -> ProviderError:
    """What became of an answer whose stream brought an error."""
    reason = _told(endpoint, data).message
    return ProviderError(f"The provider '{endpoint.name}' failed in its answer: {reason}")


def unreadable(endpoint: Endpoint) -> ProviderError:
    return ProviderError(
        f"The provider '{endpoint.name}' answered with something that is not of OpenAI's API; "
        "check its base_url."
    )


def seconds(retry_after: str | None) -> float:
    """A Retry-After, which is seconds or a date, as seconds from now; 1 where it says nothing."""
    wait = 1.0
    if retry_after:
        try:
            wait = float(retry_after)
        except ValueError:
            wait = _until(retry_after)
    return min(max(wait, 0.0), LONGEST_RETRY) if wait == wait else 1.0


def _until(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 1.0


def _reason(endpoint: Endpoint, error: Exception) -> str:
    return _sentence(endpoint, str(error) or "the connection was lost")


def _is_too_long(told: _Told) -> bool:
    return "context_length_exceeded" in told.code or "maximum context length" in told.message


def _told(endpoint: Endpoint, body: bytes) -> _Told:
    """The reason in an error's body, in the shapes that servers give it."""
    try:
        answer = _first(orjson.loads(body))
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace").strip()
        return _Told(_sentence(endpoint, text)) if text and text[0] not in "<{" else _Told()
    if not isinstance(answer, dict):
        return _Told()
    match _first(answer.get("error") or answer.get("detail") or answer):
        case dict() as error:
            return _from_object(endpoint, error)
        case str() as text:
            return _Told(_sentence(endpoint, text))
        case _:
            return _Told()


def _from_object(endpoint: Endpoint, error: dict[str, Any]) -> _Told:
    message = error.get("message") or error.get("msg")
    place = error.get("loc")
    param = error.get("param") or (place[-1] if isinstance(place, list) and place else None)
    return _Told(
        _sentence(endpoint, message) if isinstance(message, str) else NO_REASON,
        str(error.get("code") or ""),
        param if isinstance(param, str) else None,
    )


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _sentence(endpoint: Endpoint, text: str) -> str:
    line = " ".join(endpoint.redacted(text).split())
    if len(line) > MESSAGE_CHARACTERS:
        return f"{line[:MESSAGE_CHARACTERS]}…"
    return line if line.endswith((".", "!", "?")) else f"{line}."
