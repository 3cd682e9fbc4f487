"""Pulls models from the Hugging Face Hub, resuming where an earlier pull stopped.

A repository holds a CTranslate2 Whisper model, or language models as GGUF files, or Piper voices as
ONNX files, of which one is taken.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engines.base import EngineError
from engines.gguf_files import kind_of, read_language_model
from engines.hub import HubFile, Repository, errors_in_one_sentence, fetch, list_files, verify
from engines.installed import (
    NEEDED_FILES,
    PARTIAL,
    RECORD_FILE,
    InstalledModel,
    ModelKind,
    ModelRecord,
    discard,
    lacking,
    missing_files,
    model_directory,
    read_installed,
)
from engines.known_models import KNOWN, KnownModel, find_known
from engines.known_voices import REPOSITORY as PIPER_VOICES
from engines.known_voices import USUAL
from engines.piper_files import DESCRIPTION, NETWORK, read_voice, voice_names
from engines.repositories import Asked, Variant, asked_for, choose, choose_voice, variants
from engines.strict_yaml import nearest

OPTIONAL_FILES = ("preprocessor_config.json",)
HUB = "https://huggingface.co"
SPARE_BYTES = 64 << 20
"""Disk space left free beside a download."""
PLAN_FILE = "pull.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is: bytes of all files, `done` including what an earlier pull left."""

    model: str
    file: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one pull fetches: files of one commit of a repository, under one name. `main` is the
    GGUF or ONNX file to load, None of a Whisper model."""

    name: str
    aliases: tuple[str, ...]
    repository: Repository
    files: tuple[HubFile, ...]
    main: str | None = None

    @property
    def engine(self) -> str:
        if self.main is None:
            return "whisper"
        return "piper" if self.main.endswith(NETWORK) else "llama"

    @property
    def total(self) -> int:
        return sum(file.size or 0 for file in self.files)


def pull(
    name: str,
    data_dir: Path,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    endpoint: str | None = None,
    token: str | None = None,
    revision: str | None = None,
) -> ModelRecord:
    """Install the model of this name: a short one (`base`, `qwen3-0.6b`, `en_US-lessac-medium`), or
    one on the hub, as `engines.repositories` says they are written.

    Blocks for as long as it takes. `progress` is called with every piece that arrives; what it
    raises ends the pull, and what has arrived is kept for the next one. `endpoint` None means
    HF_ENDPOINT or Hugging Face; `token` None means HF_TOKEN or the one stored by its login.
    Raises `EngineError`.
    """
    asked = _looked_up(name)
    repository = _opened(asked.repository, endpoint, token)
    with errors_in_one_sentence(repository, data_dir / "models"):
        plan = _planned(asked, *list_files(repository, revision))
        directory = model_directory(data_dir, plan.name)
        partial = directory.with_name(directory.name + PARTIAL)
        installed = _already_installed(directory, plan)
        if installed is None:
            with _only_pull_of(plan, directory):
                _keep_only(partial, plan)
                _check_space(partial, plan)
                _fetch_all(partial, plan, progress)
                installed = _finish(partial, directory, plan)
    return installed.record(directory)


def _looked_up(name: str) -> Asked:
    asked = asked_for(name)
    if asked is not None:
        return asked
    near = nearest(name, KNOWN)
    meant = f"; did you mean '{near}'?" if near else "."
    short = [known for known, model in KNOWN.items() if model.kind != "speech"]
    raise EngineError(
        f"There is no model '{name}' to pull{meant} Known names: {', '.join(short)}, and Piper's "
        f"voices, such as {USUAL}; any 'owner/name' on Hugging Face that holds a CTranslate2 "
        "Whisper model, GGUF files or a Piper voice works too, files also as 'owner/name:Q4_K_M' "
        "or 'owner/name/file.gguf'."
    )


def _opened(repository: str, endpoint: str | None, token: str | None) -> Repository:
    from huggingface_hub import get_token

    return Repository(
        name=repository,
        endpoint=(endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/"),
        token=token or get_token(),
    )


def _planned(asked: Asked, repository: Repository, listed: tuple[HubFile, ...]) -> _Plan:
    """Which files of the repository to fetch, and what the model shall be called."""
    files = {file.name: file for file in listed}
    known = find_known(asked.repository)
    available = variants(files)
    if _is_voice(asked, files, known, available):
        return _voice(asked, repository, files)
    whisper = known.engine == "whisper" if known else not (available and lacking(files))
    if whisper and asked.anything:
        return _whisper(repository, files, known)
    usual = Asked(asked.repository, file=known.file if known and known.file in files else None)
    chosen = choose(available, usual if asked.anything else asked)
    name = _name(chosen, available, asked.repository)
    aliases: tuple[str, ...] = ()
    if _is_usual(chosen, available, usual):
        name = known.name if known else name
        aliases = known.aliases if known else (asked.repository,)
    return _Plan(
        name=name,
        aliases=aliases,
        repository=repository,
        files=tuple(files[file] for file in chosen.files),
        main=files[chosen.files[0]].local,
    )


def _is_voice(
    asked: Asked, files: Mapping[str, HubFile], known: KnownModel | None, available: list[Variant]
) -> bool:
    """Whether a Piper voice is asked for, or the repository holds nothing else."""
    if not asked.anything:
        return asked.file is not None and asked.file.endswith(NETWORK)
    nothing_else = known is None and not available and bool(lacking(files))
    return nothing_else and bool(voice_names(list(files)))


def _voice(asked: Asked, repository: Repository, files: Mapping[str, HubFile]) -> _Plan:
    chosen = choose_voice(files, asked)
    wanted = (files[chosen], files[chosen + DESCRIPTION])
    own = wanted[0].local.removesuffix(NETWORK)
    if repository.name == PIPER_VOICES:
        known = find_known(own)
        name, aliases = own, known.aliases if known else ()
    else:
        only = len(voice_names(list(files))) == 1
        name = repository.name if only else f"{repository.name}/{chosen}"
        aliases = (own,)
    return _Plan(name, aliases, repository, wanted, main=wanted[0].local)


def _is_usual(chosen: Variant, available: list[Variant], usual: Asked) -> bool:
    """Whether the repository's name alone would have meant the same."""
    try:
        return choose(available, usual) == chosen
    except EngineError:
        return False


def _name(chosen: Variant, available: list[Variant], repository: str) -> str:
    """The shortest name that means this one of the repository's models and no other."""
    alike = [one for one in available if one.quantisation == chosen.quantisation]
    if chosen.quantisation is None or len(alike) > 1:
        return f"{repository}/{chosen.files[0]}"
    return f"{repository}:{chosen.quantisation}"


def _whisper(
    repository: Repository, files: Mapping[str, HubFile], known: KnownModel | None
) -> _Plan:
    wanted = {name: file for name, file in files.items() if _wanted(name)}
    missing = lacking(wanted)
    if missing and known is None:
        raise EngineError(
            f"'{repository.name}' holds neither a CTranslate2 Whisper model (it has no "
            f"{missing[0]}) nor a Piper voice nor GGUF files; those are often in a repository "
            "called like it, with -GGUF at the end."
        )
    if missing:
        raise EngineError(
            f"'{repository.name}' is not a CTranslate2 Whisper model: it has no {missing[0]}."
        )
    return _Plan(
        name=known.name if known else repository.name,
        aliases=known.aliases if known else (),
        repository=repository,
        files=tuple(wanted.values()),
    )


def _wanted(name: str) -> bool:
    vocabulary = name.startswith("vocabulary.") and "/" not in name and "\\" not in name
    return vocabulary or name in NEEDED_FILES or name in OPTIONAL_FILES


def _already_installed(directory: Path, plan: _Plan) -> InstalledModel | None:
    try:
        installed = read_installed(directory)
    except EngineError:
        return None
    commit = plan.repository.commit
    here = (installed.repository, installed.revision, installed.file)
    return installed if commit and here == (plan.repository.name, commit, plan.main) else None


@contextmanager
def _only_pull_of(plan: _Plan, directory: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory.with_name(f".{directory.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise EngineError(f"'{plan.name}' is being pulled already.") from None
    try:
        yield
    finally:
        lock.release()


def _keep_only(partial: Path, plan: _Plan) -> None:
    """Forget what an earlier pull left, unless it is of the same commit."""
    commit = plan.repository.commit
    mark = {"repository": plan.repository.name, "commit": commit}
    path = partial / PLAN_FILE
    try:
        same = commit is not None and json.loads(path.read_bytes()) == mark
    except (FileNotFoundError, ValueError):
        same = False
    if not same:
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        path.write_text(json.dumps(mark))


def _check_space(partial: Path, plan: _Plan) -> None:
    present = sum(path.stat().st_size for path in partial.iterdir())
    needed = plan.total - present
    free = shutil.disk_usage(partial).free
    if needed + SPARE_BYTES > free:
        raise EngineError(
            f"'{plan.name}' needs {_megabytes(needed + SPARE_BYTES)} more on the disk, but "
            f"{partial.parent} has only {_megabytes(free)} free."
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(0, count) / 1e6:.0f} MB"


def _fetch_all(partial: Path, plan: _Plan, progress: Callable[[Progress], None]) -> None:
    done = 0
    for file in plan.files:
        path = partial / file.local
        before = done

        def report(size: int, file: HubFile = file, before: int = before) -> None:
            progress(Progress(plan.name, file.name, before + size, plan.total))

        fetch(path, file, plan.repository, report)
        done = before + path.stat().st_size
    for file in plan.files:
        verify(partial / file.local, file)


def _finish(partial: Path, directory: Path, plan: _Plan) -> InstalledModel:
    kind = _kind(partial, plan)
    installed = InstalledModel(
        name=plan.name,
        engine=plan.engine,
        kind=kind,
        aliases=plan.aliases,
        repository=plan.repository.name,
        revision=plan.repository.commit,
        file=plan.main,
        installed_at=time.time(),
        bytes=sum((partial / file.local).stat().st_size for file in plan.files),
    )
    (partial / RECORD_FILE).write_text(installed.model_dump_json(indent=2))
    (partial / PLAN_FILE).unlink()
    if directory.exists():
        discard(directory, partial)
    else:
        partial.rename(directory)
    return installed


def _kind(partial: Path, plan: _Plan) -> ModelKind:
    """What the model is for. Raises `EngineError` when it cannot be used at all."""
    if plan.main is None:
        missing = missing_files(partial)
        if missing:
            raise EngineError(f"'{plan.repository.name}' has an empty {missing[0]}.")
        return "transcription"
    try:
        if plan.engine == "piper":
            read_voice(partial / plan.main)
            return "speech"
        return kind_of(read_language_model(partial / plan.main))
    except EngineError as error:
        # The same bytes would come again: what has arrived is not worth its place.
        shutil.rmtree(partial)
        reason = str(error).removeprefix(f"{partial}{os.sep}")
        raise EngineError(f"'{plan.name}' cannot be used: {reason}.") from None
