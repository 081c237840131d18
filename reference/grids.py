"""Fields on a grid of the globe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.io import netcdf_file

from reference.catalog import get
from reference.images import _check_split


@dataclass(frozen=True)
class Reanalysis:
    """`values` float32 (time, variable, level, latitude, longitude), in `units`.

    `variables` and `units` name the second axis, `levels` (hPa) the third; `latitudes` fall from 90 to -90 and
    `longitudes` rise from -180, both in degrees. `months` (1..12) are the times.
    """

    values: torch.Tensor
    variables: tuple[str, ...]
    units: tuple[str, ...]
    levels: tuple[int, ...]
    months: tuple[int, ...]
    latitudes: torch.Tensor
    longitudes: torch.Tensor


def era_interim(split: str) -> Reanalysis:
    """ERA-Interim monthly means of January and July: z (m2 s-2), u and v (m s-1); 200, 500, 850 hPa; 241 x 480.

    The file packs each variable into 16 bits (`value = packed * scale_factor + add_offset`); it is unpacked in float64.
    """
    _check_split("era-interim", split, ("all",))
    variables = ("z", "u", "v")
    with netcdf_file(get("era-interim").require() / "eraint_uvz.nc", mmap=False) as file:
        packed = [file.variables[name] for name in variables]
        fields = [part.data.astype(np.float64) * part.scale_factor + part.add_offset for part in packed]
        axes = {name: file.variables[name].data for name in ("level", "month", "latitude", "longitude")}
    return Reanalysis(
        torch.from_numpy(np.stack(fields, axis=1).astype(np.float32)),
        variables,
        ("m2 s-2", "m s-1", "m s-1"),
        tuple(axes["level"].tolist()),
        tuple(axes["month"].tolist()),
        torch.from_numpy(axes["latitude"].astype(np.float64)),
        torch.from_numpy(axes["longitude"].astype(np.float64)),
    )
