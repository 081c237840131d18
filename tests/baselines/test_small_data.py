"""Parts of the small sets: sizes, ranges, that they have no example in common, and what is refused."""

from __future__ import annotations

import pytest

from baselines.small_data import Split, split
from tests.conftest import needed


@pytest.mark.parametrize(
    ("data", "width", "tested", "lowest"),
    [("digits", 64, 360, 0), ("fashion-mnist", 196, 10_000, 0), ("letter", 16, 5000, -1)],
)
def test_parts(data: str, width: int, tested: int, lowest: float) -> None:
    needed(data)
    parts = split(data, 1000, 500)
    whole = 1437 if data == "digits" else 500
    assert [len(part[1]) for part in parts[:3]] == [whole - whole // 5, whole // 5, tested]
    for inputs, labels in parts[:3]:
        assert inputs.shape == (len(labels), width)
        assert lowest <= float(inputs.min()) < float(inputs.max()) <= 1
        assert 0 <= int(labels.min()) <= int(labels.max()) < parts.classes


def test_parts_depend_on_the_seed_alone() -> None:
    needed("letter")

    def alike(one: Split, other: Split) -> bool:
        return all(bool((a[0] == b[0]).all()) for a, b in zip(one[:3], other[:3], strict=True))

    assert alike(split("letter", 1, 100), split("letter", 1, 100))
    assert not alike(split("letter", 1, 100), split("letter", 2, 100))


def test_first_letters() -> None:
    needed("letter")
    parts = split("letter", 0, 200, 5)
    assert {int(part[1].max()) for part in parts[:3]} == {4}
    assert len(parts.train[1]) == 160


def test_refuses_other_data() -> None:
    with pytest.raises(ValueError, match="must be 'digits', 'fashion-mnist' or 'letter'"):
        split("mnist", 0, 100)
