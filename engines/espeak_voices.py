"""espeak-ng's voices, read from its data without loading the library."""

import functools
from dataclasses import dataclass
from pathlib import Path

from engines.base import EngineError, InvalidInput
from engines.strict_yaml import nearest
from engines.synthesis import Voice

_MOST_NAMES = 8


@dataclass(frozen=True, slots=True)
class _Table:
    """`voices` by name (a file's, in lower case); `identifiers` by every name that means one, and
    `variants` by their names in lower case, both as espeak-ng wants them."""

    voices: dict[str, Voice]
    identifiers: dict[str, str]
    variants: dict[str, str]


def voices() -> tuple[Voice, ...]:
    """All of them, by name: `af`, `en-us`, `fr`. The first call reads their files."""
    return tuple(_table().voices.values())


def variants() -> tuple[str, ...]:
    """Other throats for any of them, added after a plus: `en-us+f3`."""
    return tuple(_table().variants.values())


def is_voice(name: str) -> bool:
    """Whether `name` is a voice, with a variant or without."""
    try:
        identifier(name)
    except InvalidInput:
        return False
    return True


def identifier(name: str) -> str:
    """What espeak-ng calls the voice of this name: `gmw/en-US+f3` for `en-us+F3`.

    Any case, `en_US`, and the language tags and English names in a voice's file are understood.
    Raises `InvalidInput`: espeak-ng itself takes unknown variants for none.
    """
    table = _table()
    base, plus, variant = name.partition("+")
    found = table.identifiers.get(_folded(base))
    if found is None:
        raise _unknown("voice", base, table.voices)
    if not plus:
        return found
    if variant.lower() not in table.variants:
        raise _unknown("variant", variant, table.variants)
    return f"{found}+{table.variants[variant.lower()]}"


def data_directory() -> Path:
    """Where the language and voice files are. Raises `EngineError`."""
    try:
        import espeakng_loader

        return Path(espeakng_loader.get_data_path())
    except (ImportError, RuntimeError, OSError) as error:
        raise EngineError(f"espeak-ng is not installed as it should be: {error}.") from None


def _unknown(what: str, name: str, known: dict[str, Voice] | dict[str, str]) -> InvalidInput:
    near = nearest(name.lower(), known)
    hint = (
        f"did you mean '{near}'?" if near else "some are: " + ", ".join(list(known)[:_MOST_NAMES])
    )
    return InvalidInput(f"espeak-ng has no {what} '{name}'; {hint}", "voice")


def _folded(name: str) -> str:
    return name.strip().lower().replace("_", "-")


@functools.cache
def _table() -> _Table:
    data = data_directory()
    found: dict[str, Voice] = {}
    identifiers: dict[str, str] = {}
    others: dict[str, str] = {}
    try:
        for path in sorted((data / "lang").rglob("*"), key=lambda path: path.name.lower()):
            if path.is_file():
                voice, names = _read(path)
                identifiers[voice.name] = path.relative_to(data / "lang").as_posix()
                others |= {name: voice.name for name in names if name not in others}
                found[voice.name] = voice
        variants = [path.name for path in (data / "voices" / "!v").iterdir() if path.is_file()]
    except OSError as error:
        raise EngineError(f"espeak-ng's data cannot be read: {error.strerror}.") from None
    aliases = {name: identifiers[meant] for name, meant in others.items()}
    by_variant = {name.lower(): name for name in sorted(variants, key=str.lower)}
    return _Table(found, aliases | identifiers, by_variant)


def _read(path: Path) -> tuple[Voice, list[str]]:
    """A voice's file, and the other names that it gives itself."""
    name, tags = path.name, []
    for line in path.read_text("utf-8").splitlines():
        key, _, value = line.partition(" ")
        if key == "name":
            name = value.partition("//")[0].strip()
        elif key == "language":
            tags.append(value.split()[0].lower())
    own = path.name.lower()
    place = f"{path.parent.name}/{own}"
    return Voice(own, tags[0] if tags else own, name), [*tags, name.lower(), place]
