"""Fields on a grid of the globe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reference.catalog import DataError, get
from reference.images import check_split


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

    from scipy.io import netcdf_file

    check_split("era-interim", split, ("all",))
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


@dataclass(frozen=True)
class Field:
    """`values` float32 (time, level, latitude, longitude), NaN where the file has none; one level for the surface."""

    variable: str
    units: str
    values: torch.Tensor
    levels: tuple[int, ...]
    times: tuple[str, ...]
    latitudes: torch.Tensor
    longitudes: torch.Tensor


def era5(split: str) -> tuple[Field, ...]:
    """ERA5 as the Climate Data Store writes it; the split is the name of a file without ".nc", such as "2024-06-01".

    Needs h5py (`crossexam[data]`): the files are NetCDF 4. Times are ISO 8601 in UTC; levels in hPa.
    """
    path = get("era5").require() / f"{split}.nc"
    if not path.is_file():
        have = ", ".join(sorted(file.stem for file in path.parent.glob("*.nc"))) or "none"
        raise DataError(f"data set 'era5' has no file '{path.name}' here: there are {have}")
    return read_netcdf4(path)


def read_netcdf4(path: Path) -> tuple[Field, ...]:
    """Every variable over latitude and longitude, unpacked (`scale_factor`, `add_offset`, `_FillValue`) in float64."""
    import h5py

    with h5py.File(path) as file:
        clock = next((name for name in ("valid_time", "time") if name in file), None)
        if clock is None or not {"latitude", "longitude"} <= set(file):
            raise DataError(f"{path} lacks a time, latitude or longitude")
        times = _times(file[clock][:], _text(file[clock].attrs["units"]))
        level = next((name for name in ("pressure_level", "level") if name in file), None)
        levels = tuple(int(value) for value in file[level][:]) if level else (0,)
        latitudes, longitudes = (
            torch.from_numpy(file[name][:].astype(np.float64)) for name in ("latitude", "longitude")
        )
        shape = (len(times), len(levels), len(latitudes), len(longitudes))
        found = []
        for name, stored in file.items():
            if stored.ndim in (3, 4) and stored.shape[-2:] == shape[-2:]:
                surface = stored.ndim == 3
                values = _unpacked(stored).reshape(shape if not surface else (shape[0], 1, *shape[2:]))
                found.append(
                    Field(name, _text(stored.attrs.get("units", "")), torch.from_numpy(values),
                          (0,) if surface else levels, times, latitudes, longitudes)
                )  # fmt: skip
    return tuple(found)


def _unpacked(stored: Any) -> npt.NDArray[np.float32]:
    raw, about = stored[:], stored.attrs
    values = raw.astype(np.float64)
    if "_FillValue" in about:
        values[raw == np.ravel(about["_FillValue"])[0]] = np.nan
    scale, offset = (
        float(np.ravel(about.get(key, value))[0]) for key, value in (("scale_factor", 1), ("add_offset", 0))
    )
    unpacked: npt.NDArray[np.float32] = (values * scale + offset).astype(np.float32)
    return unpacked


def _times(stored: npt.NDArray[Any], units: str) -> tuple[str, ...]:
    """`seconds since 1970-01-01` and the like, as CF metadata has it."""
    unit, _, origin = units.partition(" since ")
    step = {"seconds": 1, "hours": 3600, "days": 86400}.get(unit)
    if step is None:
        raise DataError(f"times in '{units}': expected seconds, hours or days since a date")
    start = np.datetime64(origin.split(".")[0].strip().replace(" ", "T"), "s")
    return tuple(str(start + np.timedelta64(int(value) * step, "s")) for value in stored)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
