"""Two skills on digits, learned from budgets of their own, and what needs both: the weakest link as a mechanism.

Skills are answers about one image (is it odd? is it five or more?), whose errors go together, or the digits of two
images, whose errors do not. Both answers can be right at once no more often than the weaker one is: that is arithmetic.
An answer that is computed from both (whether exactly one holds; the sum of both digits) may be right though they are
not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F

from baselines.digits import Data, stratified
from baselines.models import mlp
from baselines.training import fit, supervised

BUDGETS = (20, 60, 180, 540)
"""Labelled examples of a skill."""
RATE, STEPS, WIDTH = 3e-3, 300, 32
"""Of Adam on the whole budget at once, for every network."""
WEAK, STRONG, MORE = 30, 300, 270
"""Examples of the weaker and of the stronger skill, and what one of them gets in addition."""
SLACK = 0.02


class Skills(NamedTuple):
    """Inputs and answers of two skills, to learn (each from an order of its own) and to be tested on together.

    `computed` makes of both answers the one that needs them.
    """

    train: tuple[Data, Data]
    test: tuple[Data, Data]
    classes: int
    computed: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def skills(setting: str, seed: int) -> Skills:
    """Both skills on "one-image" or on "two-images". Raises ValueError for other settings."""
    (images, labels), (tested, test_labels) = stratified(seed)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    if setting == "one-image":
        odd, high = ((labels % 2, test_labels % 2), ((labels >= 5).long(), (test_labels >= 5).long()))
        trains = ((images, odd[0]), (images[order], high[0][order]))
        return Skills(trains, ((tested, odd[1]), (tested, high[1])), 2, torch.bitwise_xor)
    if setting == "two-images":
        turned, turned_test = images.rot90(1, (2, 3)), tested.rot90(1, (2, 3))
        other = torch.randperm(len(test_labels), generator=torch.Generator().manual_seed(seed + 1))
        trains = ((images, labels), (turned[order], labels[order]))
        return Skills(trains, ((tested, test_labels), (turned_test[other], test_labels[other])), 10, torch.add)
    raise ValueError(f"setting must be 'one-image' or 'two-images', got {setting!r}")


def taught(data: Data, budget: int, classes: int, seed: int) -> torch.nn.Module:
    """A network 64-32-K on the first `budget` examples."""
    inputs, labels = data[0][:budget], data[1][:budget]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = mlp([inputs[0].numel(), WIDTH, classes])
    fit(
        network, inputs, labels, supervised(F.cross_entropy), epochs=STEPS, batch_size=budget, drop_last=True,
        seed=seed,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=RATE),
    )  # fmt: skip
    return network.eval()


@torch.no_grad()
def answers(network: torch.nn.Module, data: Data) -> torch.Tensor:
    return network(data[0]).argmax(1)


def share(right: torch.Tensor) -> float:
    return float(right.double().mean())


def combined(*, setting: str, seed: int) -> dict[str, float]:
    """All budgets of one skill with all of the other: where the combination lies between what its parts suggest.

    `taught` is a network of the same size that learns the combination itself, from as many examples as the skill with
    the larger budget.
    """
    both = skills(setting, seed)
    (_, true_first), (_, true_second) = both.test
    first, second = (
        {budget: answers(taught(train, budget, both.classes, seed + place), test) for budget in BUDGETS}
        for place, (train, test) in enumerate(zip(both.train, both.test, strict=True))
    )
    whole = {budget: together(both, budget, seed) for budget in BUDGETS}
    wanted, rows = both.computed(true_first, true_second), []
    for one, other in itertools.product(BUDGETS, repeat=2):
        right = first[one] == true_first, second[other] == true_second
        computed = both.computed(first[one], second[other]) == wanted
        rows.append((*map(share, (*right, right[0] & right[1], computed)), whole[max(one, other)]))
    a, b, x, computed, direct = torch.tensor(rows, dtype=torch.float64).T
    limit = torch.minimum(a, b) + SLACK
    return {
        "within": float((computed <= limit).double().mean()),
        "product_gap": float((x - a * b).abs().mean()),
        "mean_gap": float((x - (a + b) / 2).abs().mean()),
        "taught_above": float((direct > limit).double().mean()),
    }


def together(both: Skills, budget: int, seed: int) -> float:
    """Accuracy of a network that learns pairs of answers as one label."""
    (images, labels), (others, more) = both.train
    (tested, expected), (tested_too, expected_too) = both.test
    if both.classes == 2:  # the order of the first skill's examples
        more = (stratified(seed)[0][1] >= 5).long()
        data, test = (images, 2 * labels + more), (tested, 2 * expected + expected_too)
    else:
        data = (torch.cat([images, others], 2), both.classes * labels + more)
        test = (torch.cat([tested, tested_too], 2), both.classes * expected + expected_too)
    network = taught(data, budget, both.classes**2, seed)
    return share(answers(network, test) == test[1])


def strengthened(*, arm: str, setting: str, seed: int) -> dict[str, float]:
    """The combination after the weaker ("weaker") or the stronger skill got more examples; "as_it_is": neither."""
    both = skills(setting, seed)
    budgets = (WEAK + MORE * (arm == "weaker"), STRONG + MORE * (arm == "stronger"))
    first, second = (
        answers(taught(train, budget, both.classes, seed + place), test) == test[1]
        for place, (train, test, budget) in enumerate(zip(both.train, both.test, budgets, strict=True))
    )
    return {"first": share(first), "second": share(second), "combination": share(first & second)}
