"""The GPU's libraries are found in their packages, and their absence is no error."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.cuda import provide_libraries


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Python remembers namespace packages by name."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "nvidia"]:
        del sys.modules[name]


def a_library() -> Path:
    """Any small shared library of this system."""
    process = subprocess.run(
        [sys.executable, "-c", "import _ctypes; print(_ctypes.__file__)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(process.stdout.strip())


def test_libraries_of_installed_packages_are_loaded_and_broken_ones_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "nvidia" / "cublas" / "lib"
    folder.mkdir(parents=True)
    shutil.copy(a_library(), folder / "libcublas.so.12")
    (folder / "libcublasLt.so.12").write_bytes(b"not a library")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert provide_libraries() == [folder / "libcublas.so.12"]
    assert "libcublasLt.so.12 cannot be used" in caplog.text


def test_without_the_packages_nothing_is_loaded() -> None:
    assert provide_libraries() == []
