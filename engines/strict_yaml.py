"""YAML files read strictly: every mistake is one line with file, line and the nearest valid name.

Values follow YAML 1.2's core schema (`no` and `on` are text, not booleans). Tags, duplicate keys,
merge keys and keys that are not text are refused; `${NAME}` and `${NAME:-default}` in values are
replaced by environment variables, and `$${` stands for a plain `${`.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
MAX_VALUES = 100_000
"""Values in one document, counted after aliases are followed."""

Key = str | int
Model = TypeVar("Model", bound=BaseModel)


class ConfigError(Exception):
    """A mistake in what the user configured: one line that says where and what to do."""

    def __init__(self, file: str | None, line: int | None, message: str) -> None:
        where = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(where + message)
        self.file = file
        self.line = line
        self.message = message

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[str | None, int | None, str]]:
        return type(self), (self.file, self.line, self.message)


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content as plain Python values, and where each of them was written.

    `lines` and `origins` are keyed by path: the keys and indices that lead to a value. `origins`
    names what did not come from the file, such as an environment variable.
    """

    file: str
    value: Any
    lines: Mapping[tuple[Key, ...], int] = field(default_factory=dict)
    origins: Mapping[tuple[Key, ...], str] = field(default_factory=dict)

    def line_of(self, path: Sequence[Key]) -> int:
        """The line (from 1) of the value at `path`, or of the nearest thing around it."""
        for length in range(len(path), -1, -1):
            line = self.lines.get(tuple(path[:length]))
            if line is not None:
                return line
        return 1

    def at(self, path: Sequence[Key]) -> Any:
        """The value at `path`; an empty mapping where there is none."""
        value = self.value
        for key in path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return {}
        return value

    def overlaid(self, path: Sequence[str], value: Any, origin: str) -> "Document":
        """This document with `value` at `path`; errors about it will name `origin`."""
        return replace(
            self,
            value=_with_value(self.value, tuple(path), value),
            origins={**self.origins, tuple(path): origin},
        )

    def error(self, path: Sequence[Key], message: str) -> ConfigError:
        """A `ConfigError` about the value at `path`."""
        for length in range(len(path), 0, -1):
            prefix = tuple(path[:length])
            if prefix in self.origins:
                return ConfigError(self.origins[prefix], None, message)
            if prefix in self.lines:
                return ConfigError(self.file, self.lines[prefix], message)
        if not self.lines:
            return ConfigError(None, None, message)
        return ConfigError(self.file, self.line_of(path), message)


def load(path: Path, environ: Mapping[str, str], file: str | None = None) -> Document:
    """Read the file at `path`, which errors call `file`. Raises `ConfigError`; blocks."""
    name = file or str(path)
    try:
        with path.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(name, None, f"cannot be read: {reason}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(name, None, f"is larger than {MAX_BYTES >> 20} MiB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(name, line, "this is not UTF-8 text") from None
    return read(text, name, environ)


def read(text: str, file: str, environ: Mapping[str, str] | None = None) -> Document:
    """Parse one YAML document, a mapping at its top; an empty text is an empty mapping.

    `environ` is where `${NAME}` is looked up (None: it is left as it stands). Raises `ConfigError`.
    """
    try:
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join((error.problem or error.context or "not valid YAML").split())
        raise ConfigError(file, mark.line + 1 if mark else None, problem) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(file, line, "a character that YAML does not allow") from None
    if root is None:
        return Document(file, {})
    build = _Build(file, environ)
    value = build.value(root, ())
    if value is None:
        return Document(file, {})
    if not isinstance(value, dict):
        raise ConfigError(file, build.lines[()], "this should be a list of 'key: value' lines")
    return Document(file, value, build.lines)


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `name` is most likely a misspelling of."""
    folded = {candidate.casefold(): candidate for candidate in candidates}
    found = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def unknown_name(kind: str, name: str, candidates: Collection[str], where: str = "") -> str:
    """`unknown key 'prot' in 'server'; did you mean 'port'?`, or what there is to choose from."""
    message = f"unknown {kind} '{name}'" + (f" in '{where}'" if where else "")
    near = nearest(name, candidates)
    if near is not None:
        return f"{message}; did you mean '{near}'?"
    if not candidates:
        return message
    return f"{message}; valid: {', '.join(sorted(candidates))}"


def validate(model: type[Model], document: Document, at: Sequence[Key] = ()) -> Model:
    """What `document` holds at the path `at`, as a `model`.

    The first mistake is raised as a `ConfigError`; unknown keys come before other mistakes, as
    a misspelled key is often the cause of a missing one.
    """
    try:
        return model.model_validate(document.at(at))
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
    first = next((m for m in mistakes if m["type"] == "extra_forbidden"), mistakes[0])
    path = (*at, *first["loc"])
    raise document.error(path, _sentence(model, dict(first), tuple(at))) from None


def dotted(path: Iterable[Key]) -> str:
    """A path as people write it: `models[0].name`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def _sentence(model: type[BaseModel], mistake: dict[str, Any], at: tuple[Key, ...]) -> str:
    location: tuple[Key, ...] = mistake["loc"]
    if location[-1:] == ("[key]",):  # pydantic's mark for the key of a dict
        location = location[:-1]
    path = (*at, *location)
    message = str(mistake["msg"])
    match mistake["type"]:
        case "extra_forbidden":
            candidates = _keys_at(model, location[:-1])
            return unknown_name("key", str(path[-1]), candidates, dotted(path[:-1]))
        case "missing":
            inside = f"'{dotted(path[:-1])}' needs" if path[:-1] else "this file needs"
            return f"{inside} the key '{path[-1]}'"
        case "value_error" | "assertion_error":
            message = str(mistake["ctx"]["error"])
            return f"'{dotted(path)}' {message}" if path else message
        case "model_type" | "dict_type":
            message = "should be a list of 'key: value' lines"
        case "tuple_type" | "list_type":
            message = "should be a list"
    return f"'{dotted(path)}' {message.removeprefix('Input ')}"


def _keys_at(model: type[BaseModel], location: Sequence[Key]) -> set[str]:
    """The keys that are valid at `location` inside `model`."""
    inside: list[Any] = [model]
    for key in location:
        following: list[Any] = []
        for annotation in inside:
            for found in _models_in(annotation):
                following += [f.annotation for n, f in _fields(found).items() if n == key]
        # An index, or a key of a plain dict, stays inside the same annotation.
        inside = following or inside
    return {n for annotation in inside for found in _models_in(annotation) for n in _fields(found)}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _with_value(tree: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    branch = dict(tree) if isinstance(tree, dict) else {}
    branch[path[0]] = _with_value(branch.get(path[0]), path[1:], value)
    return branch


class _Loader(yaml.SafeLoader):
    """PyYAML's composer with YAML 1.2's scalars, a bound on depth, and no tags."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(
                problem="tags are not allowed", problem_mark=event.start_mark
            )
        if self.depth == MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=event.start_mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_MERGE = "tag:yaml.org,2002:merge"

_NUMBER_STARTS = list("+-.0123456789")

_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _starts in (
    (_NULL, r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (_BOOL, r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (_INT, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", _NUMBER_STARTS),
    (
        _FLOAT,
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        _NUMBER_STARTS,
    ),
    (_MERGE, r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), _starts)

_VARIABLE = re.compile(r"\$(\$\{)|\$\{([^}]*)\}")
_VARIABLE_PARTS = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\Z", re.DOTALL)


class _Build:
    """Turns composed nodes into values, and notes the line of each."""

    def __init__(self, file: str, environ: Mapping[str, str] | None) -> None:
        self.lines: dict[tuple[Key, ...], int] = {}
        self._file = file
        self._environ = environ
        self._values = 0
        self._open: set[int] = set()

    def value(self, node: yaml.Node, path: tuple[Key, ...]) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._error(node, f"more than {MAX_VALUES} values")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            raise self._error(node, "an alias inside the value that it repeats")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: tuple[Key, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, item in node.value:
            name = self._key(key)
            here = (*path, name)
            if name in mapping:
                raise self._error(
                    key, f"the key '{name}' was already used at line {self.lines[here]}"
                )
            self.lines[here] = key.start_mark.line + 1
            mapping[name] = self.value(item, here)
        return mapping

    def _key(self, node: yaml.Node) -> str:
        if node.tag == _MERGE:
            raise self._error(node, "merge keys ('<<') are not supported")
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "a key must be text")
        if node.tag != "tag:yaml.org,2002:str":
            raise self._error(node, f"a key must be text: write '{node.value}' in quotes")
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text = str(node.value)
        match node.tag:
            case "tag:yaml.org,2002:null":
                return None
            case "tag:yaml.org,2002:bool":
                return text[0] in "tT"
            case "tag:yaml.org,2002:int":
                return self._integer(node, text)
            case "tag:yaml.org,2002:float":
                return float(re.sub(r"\.(?=[iInN])", "", text))
        return self._expanded(node, text)

    def _integer(self, node: yaml.ScalarNode, text: str) -> int:
        if len(text) > 100:
            raise self._error(node, "a number with too many digits")
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)

    def _expanded(self, node: yaml.ScalarNode, text: str) -> str:
        if self._environ is None:
            return text
        environ = self._environ

        def replaced(found: re.Match[str]) -> str:
            if found[1]:
                return found[1]
            parts = _VARIABLE_PARTS.match(found[2])
            if parts is None:
                raise self._error(
                    node, f"'{found[0]}' is not of the form ${{NAME}} or ${{NAME:-default}}"
                )
            name, default = parts.groups()
            value = environ.get(name)
            if default is not None:
                return value or str(default)
            if value is None:
                raise self._error(node, f"the environment variable {name} is not set")
            return value

        return _VARIABLE.sub(replaced, text)

    def _error(self, node: yaml.Node, message: str) -> ConfigError:
        return ConfigError(self._file, node.start_mark.line + 1, message)
