"""How a model on Hugging Face is asked for, and which files of its repository are taken.

`owner/name` takes a usual quantisation, `owner/name:Q4_K_M` that one, and
`owner/name/folder/file.gguf` that file. Whisper models are whole repositories, Piper voices are
files, and the official ones are known by their names.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from engines.base import EngineError
from engines.gguf_files import is_model_name, part_names
from engines.known_models import find_known, is_repository
from engines.known_voices import REPOSITORY as PIPER_VOICES
from engines.known_voices import file_of
from engines.piper_files import NETWORK, voice_names

USUAL = ("Q4_K_M", "Q8_0")
"""The quantisations to take, the first that there is, where none is asked for."""

_MOST_SHOWN = 24
_ASKED = re.compile(
    r"(?P<repository>[^/:]+/[^/:]+)(?::(?P<quantisation>[\w.-]+)|/(?P<file>.+))?\Z", re.ASCII
)
_QUANTISATION = re.compile(
    r"(?<![A-Z0-9])(?:UD-)?(?:I?Q[1-9](?:_[A-Z0-9]+)*|TQ[12]_0|B?F16|F32|MXFP4(?:_MOE)?|NVFP4)"
    r"(?![A-Z0-9])"
)
_SAFE_PATH = re.compile(r"[^/\\:\0-\x1f]+(?:/[^/\\:\0-\x1f]+)*\Z")


@dataclass(frozen=True, slots=True)
class Asked:
    """A repository, and what is wanted of it: a quantisation (in capitals), or a file."""

    repository: str
    quantisation: str | None = None
    file: str | None = None

    @property
    def anything(self) -> bool:
        """Whether which file to take was left to us."""
        return self.quantisation is None and self.file is None


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the models that a repository holds: its files, the first part first, and the name of
    its quantisation, if the files' names have it."""

    files: tuple[str, ...]
    quantisation: str | None


def asked_for(source: str) -> Asked | None:
    """What `source` asks of Hugging Face; None where it has no such form. Known models' short names
    are understood, with a quantisation or without."""
    short, _, quantisation = source.partition(":")
    known = find_known(short)
    voice = file_of(source) if known is None else known.file if known.engine == "piper" else None
    if voice is not None:
        return Asked(PIPER_VOICES, file=voice) if source == short else None
    if known is not None:
        return Asked(known.repository, _canonical(quantisation) or None)
    match = _ASKED.match(source)
    if match is None or not is_repository(match["repository"]) or ".." in source:
        return None
    file = match["file"]
    if file is None:
        # `models/name.gguf` is meant as a path: repositories are not called like files.
        is_file = source.lower().endswith((".gguf", NETWORK))
        is_path = match["quantisation"] is None and is_file
        chosen = match["quantisation"]
        return None if is_path else Asked(match["repository"], chosen and _canonical(chosen))
    if _SAFE_PATH.match(file) and file.endswith(NETWORK):
        return Asked(match["repository"], file=file)
    if not _SAFE_PATH.match(file) or not is_model_name(file):
        return None
    return Asked(match["repository"], file=part_names(file)[0])


def quantisation_of(file: str) -> str | None:
    """The quantisation that the name of a GGUF file ends in, or that its folder is called by."""
    for part in reversed(_canonical(file).removesuffix(".GGUF").split("/")):
        found = _QUANTISATION.findall(part)
        if found:
            return str(found[-1])
    return None


def _canonical(quantisation: str) -> str:
    return quantisation.upper().replace("FP16", "F16").replace("FP32", "F32")


def variants(names: Collection[str]) -> list[Variant]:
    """The models among a repository's files; those of which a part is missing are left out."""
    found = []
    for name in sorted(names):
        parts = part_names(name)
        whole = parts[0] == name and all(part in names for part in parts)
        if whole and is_model_name(name) and _SAFE_PATH.match(name) and ".." not in name:
            found.append(Variant(parts, quantisation_of(name)))
    return found


def choose(available: Sequence[Variant], asked: Asked) -> Variant:
    """The one of a repository's models that is asked for. The `EngineError` where it is not there,
    or not the only one, lists what can be asked for."""
    repository = asked.repository
    if asked.file is not None:
        for variant in available:
            if variant.files[0] == asked.file:
                return variant
        raise EngineError(f"'{repository}' has no {asked.file}; {_offer(available, repository)}")
    wanted = USUAL if asked.quantisation is None else (asked.quantisation,)
    for quantisation in wanted:
        fitting = [one for one in available if one.quantisation == quantisation]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            files = _listed([f"{repository}/{one.files[0]}" for one in fitting])
            raise EngineError(
                f"'{repository}' has several {quantisation} files; pull one: {files}."
            )
    if asked.anything and len(available) == 1:
        return available[0]
    missing = " or ".join(wanted)
    raise EngineError(f"'{repository}' has no {missing}; {_offer(available, repository)}")


def choose_voice(names: Collection[str], asked: Asked) -> str:
    """The network among a repository's files that is asked for. The `EngineError` where it is not
    there, or not the only one, lists what can be asked for."""
    available = [name for name in voice_names(list(names)) if _SAFE_PATH.match(name)]
    if asked.file in available:
        return asked.file
    if asked.file is None and len(available) == 1:
        return available[0]
    missing = f"'{asked.repository}' has no {asked.file}"
    what = missing if asked.file else f"'{asked.repository}' has several voices"
    offered = _listed([f"{asked.repository}/{name}" for name in available])
    raise EngineError(f"{what}; pull one of: {offered}." if offered else f"{missing}.")


def _offer(available: Sequence[Variant], repository: str) -> str:
    named = [one.quantisation or one.files[0] for one in available]
    unique = [
        f"{repository}:{name}"
        if one.quantisation and named.count(name) == 1
        else f"{repository}/{one.files[0]}"
        for one, name in zip(available, named, strict=True)
    ]
    return f"pull one of: {_listed(unique)}." if unique else "it holds no GGUF file."


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more
