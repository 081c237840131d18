"""Splits and batches of digits."""

from __future__ import annotations

import pytest
import torch

from baselines.digits import batches, first, stratified, unshuffled


def test_stratified_splits_are_disjoint_balanced_and_seeded() -> None:
    train, test = stratified(0)
    assert (len(train[1]), len(test[1])) == (1437, 360)
    assert train[0].shape == (1437, 1, 8, 8)
    assert train[0].min() >= 0
    assert train[0].max() == 1
    assert (torch.bincount(test[1]) - torch.bincount(train[1]) / 4).abs().max() < 1
    assert torch.equal(stratified(0)[1][1], test[1])
    assert not torch.equal(stratified(1)[1][1], test[1])


def test_unshuffled_takes_the_first_fifth_of_the_file() -> None:
    train, test = unshuffled()
    assert (len(train[1]), len(test[1])) == (1437, 360)
    assert test[1][:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_batches_are_full_reshuffled_and_reproducible() -> None:
    data = torch.arange(10.0).view(10, 1, 1, 1), torch.arange(10)
    seen = [labels.tolist() for _, labels in batches(data, 4, 5, seed=0)]
    assert [len(labels) for labels in seen] == [4] * 5
    assert len(set(seen[0] + seen[1])) == 8  # an epoch repeats nothing
    assert seen == [labels.tolist() for _, labels in batches(data, 4, 5, seed=0)]
    assert seen != [labels.tolist() for _, labels in batches(data, 4, 5, seed=1)]
    with pytest.raises(ValueError, match="batch of 11"):
        next(batches(data, 11, 1, seed=0))


def test_first_keeps_the_order() -> None:
    inputs, labels = first(unshuffled()[1], 3)
    assert len(inputs) == 3
    assert labels.tolist() == [0, 1, 2]
