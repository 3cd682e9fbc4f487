"""How objects of the Realtime API look in its older dialect, both ways.

Every function takes any JSON and gives a new object; what it does not know it passes on as it is,
for the checks behind it to judge. "Flat" is the older shape, "nested" today's.
"""

from collections.abc import Callable, Mapping
from typing import Any

from realtime.secrets import Kind

Json = dict[str, Any]
_Path = tuple[str, ...]

DEFAULT_TEMPERATURE = 0.8
"""What the older dialect says where nobody chose one."""

_FORMATS: Mapping[str, Json] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_FORMAT_NAMES = {nested["type"]: name for name, nested in _FORMATS.items()}

_INPUT: Mapping[str, _Path] = {
    "input_audio_format": ("audio", "input", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
}
_OUTPUT: Mapping[str, _Path] = {
    "modalities": ("output_modalities",),
    "output_audio_format": ("audio", "output", "format"),
    "voice": ("audio", "output", "voice"),
    "tool_choice": ("tool_choice",),
}
_SESSION: Mapping[str, _Path] = {
    **_INPUT,
    **_OUTPUT,
    "speed": ("audio", "output", "speed"),
    "max_response_output_tokens": ("max_output_tokens",),
}
_RESPONSE_IN: Mapping[str, _Path] = {
    **_OUTPUT,
    "max_response_output_tokens": ("max_output_tokens",),
}

FLAT_KEYS = frozenset(_SESSION) - {"tool_choice"} | {"temperature"}
"""Keys that only a flat session has."""

_CONTENT_OUT = {"output_text": "text", "output_audio": "audio"}
_CONTENT_IN = {flat: nested for nested, flat in _CONTENT_OUT.items()}


def session_in(flat: Mapping[str, Any], kind: Kind) -> Json:
    """The patch of a `session.update` for a flat session."""
    rest = {key: value for key, value in flat.items() if key != "client_secret"}
    if kind == "transcription":
        rest.pop("modalities", None)
        return {"type": kind, **_nested(rest, _INPUT)}
    return {"type": kind, **_nested(rest, _SESSION)}


def session_out(nested: Mapping[str, Any]) -> Json:
    """The flat session for what `session.created` and `session.updated` carry."""
    if nested.get("type") == "transcription":
        return {**_flat(nested, _INPUT), "client_secret": None}
    return {"temperature": DEFAULT_TEMPERATURE, **_flat(nested, _SESSION)}


def response_in(flat: Mapping[str, Any]) -> Json:
    """What a `response.create` asks for."""
    nested = _nested(flat, _RESPONSE_IN)
    if isinstance(items := nested.get("input"), list):
        nested["input"] = [item_in(item) for item in items]
    return nested


def response_out(nested: Mapping[str, Any]) -> Json:
    """A response, with its items."""
    flat = {"temperature": DEFAULT_TEMPERATURE, **_flat(nested, _OUTPUT)}
    if isinstance(items := flat.get("output"), list):
        flat["output"] = [item_out(item) for item in items]
    return flat


def item_in(item: Any) -> Any:
    """An item from a client: what the assistant said has other content types."""
    if isinstance(item, dict) and item.get("role") == "assistant":
        return _with_content(item, _CONTENT_IN)
    return item


def item_out(item: Any) -> Any:
    """An item for a client."""
    return _with_content(item, _CONTENT_OUT) if isinstance(item, dict) else item


def error_out(error: Any) -> Any:
    """An error that names fields as its reader knows them."""
    match error:
        case {"param": str(param), "message": str(message)}:
            flat = flat_path(param)
            return {**error, "param": flat, "message": message.replace(f"'{param}'", f"'{flat}'")}
        case _:
            return error


def flat_path(path: str) -> str:
    """`session.voice` for `session.audio.output.voice`."""
    root, _, rest = path.partition(".")
    if root not in ("session", "response"):
        return path
    for flat, places in _SESSION.items():
        nested = ".".join(places)
        if rest == nested or rest.startswith((f"{nested}.", f"{nested}[")):
            inner = "" if flat.endswith("_format") else rest[len(nested) :]
            return f"{root}.{flat}{inner}"
    return path


def _nested(flat: Mapping[str, Any], places: Mapping[str, _Path]) -> Json:
    nested = {key: value for key, value in flat.items() if key not in places}
    for key, path in places.items():
        if key in flat:
            read = _READ.get(key)
            _put(nested, path, read(flat[key]) if read else flat[key])
    return nested


def _flat(nested: Mapping[str, Any], places: Mapping[str, _Path]) -> Json:
    rest = {key: value for key, value in nested.items() if key != "type"}
    moved = {}
    for key, path in places.items():
        found, value = _take(rest, path)
        if found:
            write = _WRITE.get(key)
            moved[key] = write(value) if write else value
    return {**rest, **moved}


def _put(target: Json, path: _Path, value: Any) -> None:
    """Set `value` at `path`, unless something that is no object is in its way."""
    for step in path[:-1]:
        inner = target.get(step)
        if inner is not None and not isinstance(inner, dict):
            return
        target[step] = inner = dict(inner or {})
        target = inner
    target[path[-1]] = value


def _take(source: Json, path: _Path) -> tuple[bool, Any]:
    """Take out what is at `path`, and the objects that this empties."""
    step, *rest = path
    if step not in source:
        return False, None
    if not rest:
        return True, source.pop(step)
    inner = source[step]
    if not isinstance(inner, dict):
        return False, None
    source[step] = inner = dict(inner)
    taken = _take(inner, tuple(rest))
    if taken[0] and not inner:
        del source[step]
    return taken


def _with_content(item: Json, names: Mapping[str, str]) -> Json:
    content = item.get("content")
    if not isinstance(content, list):
        return item
    return {**item, "content": [_part(part, names) for part in content]}


def _part(part: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(part, dict) or not isinstance(kind := part.get("type"), str):
        return part
    return {**part, "type": names.get(kind, kind)}


def _read_format(name: Any) -> Any:
    return dict(_FORMATS.get(name, {"type": name})) if isinstance(name, str) else name


def _write_format(nested: Any) -> Any:
    if not isinstance(nested, dict) or not isinstance(kind := nested.get("type"), str):
        return nested
    return _FORMAT_NAMES.get(kind, kind)


def _read_modalities(names: Any) -> Any:
    spoken = isinstance(names, list) and "audio" in names
    return ["audio"] if spoken and all(name in ("audio", "text") for name in names) else names


def _write_modalities(names: Any) -> Any:
    return ["audio", "text"] if names == ["audio"] else names


def _read_choice(choice: Any) -> Any:
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        return {"type": "function", "name": choice}
    return choice


def _write_choice(choice: Any) -> Any:
    if isinstance(choice, dict) and isinstance(name := choice.get("name"), str):
        return name
    return choice


_READ: Mapping[str, Callable[[Any], Any]] = {
    "input_audio_format": _read_format,
    "output_audio_format": _read_format,
    "modalities": _read_modalities,
    "tool_choice": _read_choice,
}
_WRITE: Mapping[str, Callable[[Any], Any]] = {
    "input_audio_format": _write_format,
    "output_audio_format": _write_format,
    "modalities": _write_modalities,
    "tool_choice": _write_choice,
}
