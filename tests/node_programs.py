"""Programs for Node, with packages of npm's that are kept in a cache folder of the user's."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from filelock import FileLock
from playwright._impl._driver import compute_driver_executable
from voice import ROOT

FOLDER = ROOT / "tests" / "node"
_INSTALL_SECONDS = 180


def node() -> str:
    """Playwright's own Node: unlike the system's it is there and new enough."""
    return compute_driver_executable()[0]


def installed() -> Path:
    """A folder with the programs and their packages, which are installed once. Skips without npm
    or its registry."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    manifest = (FOLDER / "package.json").read_bytes()
    cache = Path(platformdirs.user_cache_dir("antiphon-tests", appauthor=False))
    folder = cache / f"node-{hashlib.sha256(manifest).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not (folder / ".installed").exists():
            _install(npm, folder, manifest)
        for program in FOLDER.glob("*.mjs"):
            shutil.copy(program, folder)
    return folder


def _install(npm: str, folder: Path, manifest: bytes) -> None:
    (folder / "package.json").write_bytes(manifest)
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_INSTALL_SECONDS,
    )
    if done.returncode != 0:
        pytest.skip(f"npm installed nothing: {done.stderr[-500:]}")
    (folder / ".installed").touch()


def run(folder: Path, program: str, *arguments: str, given: bytes, seconds: float) -> Any:
    """What a program writes as JSON; `given` is its standard input."""
    done = subprocess.run(
        [node(), program, *arguments],
        cwd=folder,
        input=given,
        capture_output=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
