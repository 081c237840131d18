"""Label noise: the rates and kinds that it says, nested, and nothing by accident."""

from __future__ import annotations

import pytest
import torch

from baselines.label_noise import with_label_noise

LABELS = torch.arange(10).repeat(4000)


@pytest.mark.parametrize(("kind", "wrong"), [("uniform", 0.4 * 0.9), ("symmetric", 0.4), ("partner", 0.4 * 0.9)])
def test_share_of_wrong_labels(kind: str, wrong: float) -> None:
    partner = torch.arange(10).roll(1)
    partner[3] = 3  # one class is its own partner, so that a tenth of what is struck stays right
    found = with_label_noise(LABELS, kind, 0.4, classes=10, seed=0, partner=partner)
    share = float((found != LABELS).double().mean())
    assert abs(share - wrong) < 4 * (wrong * (1 - wrong) / len(LABELS)) ** 0.5
    if kind == "partner":
        changed = found != LABELS
        assert torch.equal(found[changed], partner[LABELS[changed]])
    else:  # no class is preferred
        counts = torch.bincount(found, minlength=10).double() / len(LABELS)
        assert float((counts - 0.1).abs().max()) < 0.01


def test_noise_is_nested_and_leaves_its_input_alone() -> None:
    before = LABELS.clone()
    low, high = (with_label_noise(LABELS, "symmetric", rate, classes=10, seed=3) for rate in (0.2, 0.5))
    struck = low != LABELS
    assert torch.equal(low[struck], high[struck])
    assert torch.equal(LABELS, before)
    assert torch.equal(with_label_noise(LABELS, "uniform", 0.0, classes=10, seed=0), LABELS)
    assert (with_label_noise(LABELS, "symmetric", 1.0, classes=10, seed=0) != LABELS).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate": 1.5}, "rate must lie in"), ({"rate": float("nan")}, "rate must lie in"), ({"kind": "odd"}, "kind must be"),
        ({"classes": 9}, "labels must lie in 0..8"), ({"kind": "partner"}, "partner must be"),
    ],
)  # fmt: skip
def test_bad_input(changes: dict, words: str) -> None:
    arguments = {"kind": "uniform", "rate": 0.1, "classes": 10, **changes}
    with pytest.raises(ValueError, match=words):
        with_label_noise(LABELS, arguments["kind"], arguments["rate"], classes=arguments["classes"], seed=0)


def test_no_labels_and_one_class() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    assert with_label_noise(empty, "uniform", 0.5, classes=3, seed=0).shape == (0,)
    with pytest.raises(ValueError, match="at least two classes"):
        with_label_noise(torch.zeros(3, dtype=torch.int64), "symmetric", 0.5, classes=1, seed=0)
