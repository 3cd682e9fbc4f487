"""The libraries of an NVIDIA GPU, from the packages of the `cuda` extra."""

import ctypes
import importlib.util
import logging
from pathlib import Path

log = logging.getLogger(__name__)

_LIBRARIES = (("nvidia.cublas", "libcublas*.so.*"), ("nvidia.cudnn", "libcudnn*.so.*"))


def provide_libraries() -> list[Path]:
    """Load them, so that who asks the linker for one by its name gets it; those that were found.

    Where the packages are missing, the system's libraries are used. Blocks.
    """
    provided: list[Path] = []
    for package, pattern in _LIBRARIES:
        for path in sorted(
            library for folder in _folders(package) for library in folder.glob(pattern)
        ):
            try:
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            except OSError as error:
                log.warning("%s cannot be used: %s", path.name, error)
                continue
            provided.append(path)
    return provided


def _folders(package: str) -> list[Path]:
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return []
    if spec is None or spec.submodule_search_locations is None:
        return []
    return [Path(location) / "lib" for location in spec.submodule_search_locations]
