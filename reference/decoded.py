"""Decoded images as memory-mapped arrays in the user's cache folder, keyed by what they were decoded from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reference import cache

Pixels = npt.NDArray[np.uint8]


def decoded(key: str, shape: tuple[int, ...], decode: Callable[[Pixels], None]) -> Pixels:
    """The uint8 array of this shape that `decode` fills in, memory-mapped; decoded only if no file has this key.

    `key` names all that the pixels depend on: the checksum of the source, the decoder and its version. The array may
    be written to; such changes stay in this process. Two processes at once both decode, and the file of either stays.
    """
    name = hashlib.sha256(f"{key} {shape}".encode()).hexdigest()
    path = cache.root() / "decoded" / f"{name}.npy"
    found = _mapped(path, shape)
    if found is not None:
        return found
    fresh = np.empty(shape, np.uint8)
    decode(fresh)
    if cache.write_whole(path, lambda stream: np.save(stream, fresh)) and (found := _mapped(path, shape)) is not None:
        return found
    return fresh


def _mapped(path: Path, shape: tuple[int, ...]) -> Pixels | None:
    try:
        array: Pixels = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == np.uint8 else None
