"""Errors as OpenAI's REST API shapes them, and which of our exceptions becomes which."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from aiohttp import web
from pydantic import ValidationError

from engines.base import (
    Busy,
    EngineError,
    InvalidInput,
    ModelNotFound,
    ProviderError,
    Unsupported,
)
from engines.generation import ContextLengthExceeded

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"

MOST_PARAM = 200
"""Characters of a `param`; the names in it may be the client's own."""

_UNION_MEMBERS = frozenset({"bool", "bytes", "dict", "float", "int", "list", "none", "str"})


@dataclass(eq=False)
class ApiError(Exception):
    """A refusal that the client reads; `message` is a sentence that says what to do."""

    status: int
    message: str
    type: str = INVALID_REQUEST
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    def body(self) -> dict[str, dict[str, str | None]]:
        return {
            "error": {
                "message": _as_unicode(self.message),
                "type": self.type,
                "param": None if self.param is None else _as_unicode(self.param),
                "code": self.code,
            }
        }

    def response(self) -> web.Response:
        return json_response(self.body(), status=self.status, headers=self.headers)


def _as_unicode(text: str) -> str:
    """`text` without what JSON cannot hold: headers may be quoted in it that were not UTF-8."""
    return text.encode("utf-8", "replace").decode()


def json_response(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """`value` as JSON, by orjson."""
    return web.Response(
        body=orjson.dumps(value),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def api_error(error: Exception, request: web.BaseRequest) -> ApiError | None:
    """What the client is told about `error`; None for a fault of ours that nobody foresaw."""
    match error:
        case ApiError():
            return error
        case ValidationError():
            return _from_validation(error)
        case EngineError():
            return _from_engine(error)
        case web.HTTPException():
            return _from_http(error, request)
        case web.RequestPayloadError():
            return ApiError(400, "The body is not encoded as its headers say.")
        case _:
            return None


def unexpected(request_id: str) -> ApiError:
    """The 500 that says nothing about the inside of the server."""
    return ApiError(
        500,
        "The server had an error while processing your request. "
        f"Its log says more under the request id {request_id}.",
        type=SERVER_ERROR,
    )


def missing(param: str) -> ApiError:
    return ApiError(
        400,
        f"Missing required parameter: '{param}'.",
        code="missing_required_parameter",
        param=param,
    )


def invalid(param: str | None, message: str) -> ApiError:
    return ApiError(400, message, code="invalid_value", param=param)


def _from_validation(error: ValidationError) -> ApiError:
    """Of a field that may be one of several things, the one that was understood furthest."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    paths = [_path(each["loc"]) for each in found]
    first = len(paths[0])
    same = [number for number, path in enumerate(paths) if path[:first] == paths[0]]
    furthest = max(same, key=lambda number: len(paths[number]))
    param = _param(paths[furthest])
    if found[furthest]["type"] == "missing" and param is not None:
        return missing(param)
    reason = found[furthest]["msg"].removeprefix("Value error, ").rstrip(".")
    return invalid(param, f"Invalid value for '{param}': {reason}." if param else f"{reason}.")


def _path(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Without what pydantic calls the members of a union: `str`, `list[Part]`, `Part`."""
    return loc[:1] + tuple(part for part in loc[1:] if isinstance(part, int) or _is_field(part))


def _is_field(part: str) -> bool:
    return part.isidentifier() and part.islower() and part not in _UNION_MEMBERS


def _param(path: tuple[int | str, ...]) -> str | None:
    """`messages[0].role` for `("messages", 0, "role")`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")[:MOST_PARAM] or None


def _from_engine(error: EngineError) -> ApiError:
    match error:
        case ModelNotFound():
            return ApiError(404, str(error), code="model_not_found", param="model")
        case Unsupported():
            return invalid(error.param, str(error))
        case ContextLengthExceeded():
            return ApiError(400, str(error), code="context_length_exceeded", param=error.param)
        case InvalidInput():
            return invalid(error.param, str(error))
        case Busy():
            wait = str(max(1, math.ceil(error.retry_after)))
            return ApiError(
                429,
                str(error),
                type="rate_limit_error",
                code="rate_limit_exceeded",
                headers={"Retry-After": wait},
            )
        case ProviderError():
            return ApiError(502, str(error), type=SERVER_ERROR, code="provider_error")
        case _:
            return ApiError(500, str(error), type=SERVER_ERROR)


def _from_http(error: web.HTTPException, request: web.BaseRequest) -> ApiError:
    where = f"{request.method} {request.path}"[:300]
    match error:
        case web.HTTPNotFound():
            return ApiError(404, f"Invalid URL ({where}).", code="unknown_url")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return ApiError(
                405,
                f"Invalid method for URL ({where}); it allows {allowed}.",
                code="method_not_allowed",
                headers={"Allow": allowed},
            )
        case web.HTTPServerError():
            return ApiError(error.status, f"{error.reason}.", type=SERVER_ERROR)
        case _:
            return ApiError(error.status, error.text or f"{error.reason}.")
