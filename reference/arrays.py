"""NumPy's own array files, read so that nothing in them is ever executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.catalog import DataError


def read_npy(path: Path, dtype: npt.DTypeLike, shape: tuple[int | None, ...]) -> npt.NDArray[Any]:
    """A .npy file, memory-mapped and read-only. None in `shape` stands for any length.

    Raises DataError for pickled objects, for a damaged file, and for another type or shape.
    """
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} is not a plain NumPy array ({error})") from error
    fits = len(shape) == array.ndim and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if array.dtype != np.dtype(dtype) or not fits:
        raise DataError(f"{path}: expected {np.dtype(dtype)} {shape}, found {array.dtype} {array.shape}")
    return array
