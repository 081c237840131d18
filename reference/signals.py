"""Recordings: electrocardiograms of the PhysioNet Challenge 2021."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from reference.catalog import DataError, get
from reference.folders import listed
from reference.images import check_split
from reference.soundness import DAMAGE, reading


@dataclass(frozen=True)
class Recording:
    """`signal` float32 (leads, samples), in mV; `diagnoses` are SNOMED CT codes. Age in years, or None."""

    name: str
    leads: tuple[str, ...]
    hertz: int
    signal: torch.Tensor
    diagnoses: tuple[str, ...]
    age: int | None
    sex: str


@dataclass(frozen=True)
class Recordings:
    """`self[i]` reads one recording. `headers` are their files, sorted by name."""

    headers: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.headers)

    def __getitem__(self, number: int) -> Recording:
        return read_recording(self.headers[number])


def _challenge(name: str, split: str) -> Recordings:
    check_split(name, split, ("all",))
    folder = get(name).require()
    headers = tuple(sorted(listed(folder, folder.rglob("*.hea")), key=lambda path: path.name))
    if not headers:
        raise DataError(f"{folder} holds no recordings (*.hea with *.mat)")
    return Recordings(headers)


ptb_xl = partial(_challenge, "ptb-xl")
g12ec = partial(_challenge, "g12ec")
chapman_ecg = partial(_challenge, "chapman-ecg")
ningbo_ecg = partial(_challenge, "ningbo-ecg")


def read_recording(header: Path) -> Recording:
    """A WFDB header with its MATLAB file: one line for the record, one for each lead, then comments `# Key: value`."""

    from scipy.io import loadmat

    with reading(header):
        lines = header.read_text("utf-8").splitlines()
    comments = dict(re.findall(r"^#\s*(\w+):\s*(.*)$", "\n".join(lines), re.M))
    try:
        name, leads, hertz, samples = lines[0].split()[:4]
        rows = [line.split() for line in lines[1 : 1 + int(leads)]]
        stored = loadmat(header.with_suffix(".mat"))["val"]
        # The third word is the gain, as `units per mV(baseline)/mV`; the baseline is in stored units.
        gains = [re.fullmatch(r"([\d.]+)(?:\((-?\d+)\))?/mV", row[2]) for row in rows]
        scale = np.array([float(gain[1]) for gain in gains if gain])
        zero = np.array([float(gain[2] or 0) for gain in gains if gain])
        signal = (stored - zero[:, None]) / scale[:, None]
    except DAMAGE as error:
        raise DataError(f"{header} and its .mat are not a recording in mV ({error})") from error
    if signal.shape != (int(leads), int(samples)):
        raise DataError(f"{header} announces {leads} leads of {samples} samples, its .mat holds {signal.shape}")
    age = comments.get("Age", "")
    return Recording(
        name,
        tuple(row[-1] for row in rows),
        int(float(hertz)),
        torch.from_numpy(signal.astype(np.float32)),
        tuple(filter(None, (code.strip() for code in comments.get("Dx", "").split(",")))),
        int(float(age)) if re.fullmatch(r"\d+(\.\d+)?", age) else None,
        comments.get("Sex", ""),
    )
