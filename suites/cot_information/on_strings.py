"""Small recurrent networks that learn an automaton from strings: with answers only, or with its states as well."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from baselines.stacked_adam import StackedAdam, train
from baselines.training import Batch, Fit

STATES, LENGTH, WIDTH = 5, 20, 24
ARMS = ("traces", "every_fifth", "shuffled", "answers")
SIZES = (50, 150, 500)
RATES = (0.003, 0.01)
EPOCHS, STEPS, BATCH = 4, 100, 32
HELD_OUT = 500
"""Strings that choose learning rate and epoch; as many again test."""


class StackedGRU(nn.Module):
    """Copies of one GRU on binary strings, all begun alike: states after each symbol, and the answer at the end."""

    def __init__(self, copies: int, generator: torch.Generator) -> None:
        super().__init__()

        def weight(rows: int, columns: int) -> nn.Parameter:
            bound = 1 / math.sqrt(WIDTH)
            one = torch.empty(1, rows, columns).uniform_(-bound, bound, generator=generator)
            return nn.Parameter(one.repeat(copies, 1, 1))

        self.embed, self.recur = weight(2, 3 * WIDTH), weight(WIDTH, 3 * WIDTH)
        self.bias, self.state, self.answer = weight(1, WIDTH), weight(WIDTH, STATES), weight(WIDTH, 2)

    def forward(self, strings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Strings (copies, B, T) of 0 and 1 -> logits of states (copies, B, T, 5) and of the answer (copies, B, 2)."""
        copies, size, length = strings.shape
        hidden = self.embed.new_zeros(copies, size, WIDTH)
        steps = []
        one_hot = F.one_hot(strings.flatten(1), 2).to(self.embed.dtype)
        for given in torch.bmm(one_hot, self.embed).unflatten(1, (size, length)).unbind(2):
            gates, old = torch.bmm(hidden, self.recur).split([2 * WIDTH, WIDTH], -1)
            reset, update = (given[..., : 2 * WIDTH] + gates).sigmoid().chunk(2, -1)
            new = (given[..., 2 * WIDTH :] + reset * (old + self.bias)).tanh()
            hidden = torch.lerp(new, hidden, update)
            steps.append(hidden)
        states = torch.stack(steps, 2).flatten(1, 2) @ self.state
        return states.unflatten(1, (size, length)), hidden @ self.answer


def automaton(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A table of transitions (5, 2) and accepting states (5,), two of them, drawn until it is not an easy one.

    Every state ends at least 5 % of the strings, 35 to 65 % are accepted, and whoever sees the last three symbols only
    is right for at most 75 %: most random automata forget sooner.
    """
    while True:
        table, accepting = generator.integers(0, STATES, (STATES, 2)), generator.permutation(STATES) < 2
        states = np.eye(STATES)[:1]  # the distribution after each suffix that is looked at, one row each
        for t in range(LENGTH):
            moved = np.stack([states @ np.eye(STATES)[table[:, a]] for a in (0, 1)], 1)
            states = moved.reshape(-1, STATES) if t >= LENGTH - 3 else moved.mean(1)
        accepted, ends = states @ accepting, states.mean(0)
        right = np.maximum(accepted, 1 - accepted).mean()
        if ends.min() >= 0.05 and 0.35 <= ends @ accepting <= 0.65 and right <= 0.75:
            return table, accepting


def strings(count: int, table: np.ndarray, accepting: np.ndarray, generator: np.random.Generator) -> list[torch.Tensor]:
    """Random strings (N, T), the states after each symbol (N, T), and answers (N,)."""
    symbols = generator.integers(0, 2, (count, LENGTH))
    state, run = np.zeros(count, dtype=int), []
    for symbol in symbols.T:
        state = table[state, symbol]
        run.append(state)
    return [torch.tensor(one) for one in (symbols, np.stack(run, 1), accepting[state].astype(int))]


def networks(*, seed: int) -> dict[str, torch.Tensor]:
    """Test accuracies (arms, sizes) of one automaton's networks, all arms, sizes and rates trained side by side.

    Each keeps the learning rate and the epoch with the highest accuracy on held-out strings, the earliest of equals.
    """
    numbers = np.random.default_rng(seed)
    table, accepting = automaton(numbers)
    data, valid, test = (strings(n, table, accepting, numbers) for n in (SIZES[-1], HELD_OUT, HELD_OUT))
    shape = (len(ARMS), len(SIZES), len(RATES))
    arms, sizes, places = (one.flatten() for one in torch.meshgrid(*map(torch.arange, shape), indexing="ij"))
    sizes, rates = torch.tensor(SIZES)[sizes], torch.tensor(RATES)[places]
    generator = torch.Generator().manual_seed(seed)
    model = StackedGRU(len(arms), generator)
    # Which states count in each arm, one row a copy, and how far away in the list the string is that they belong to.
    every = torch.arange(1, LENGTH + 1) % 5 == 0
    counted = torch.stack([torch.ones(LENGTH), every.float(), torch.ones(LENGTH), torch.zeros(LENGTH)])[arms]
    away = (arms == ARMS.index("shuffled")).long()

    def losses(model: nn.Module, batch: Batch) -> torch.Tensor:
        # A share of the way through the list is one string for each size.
        chosen = (batch.inputs[:, 0] * sizes[:, None]).long()
        states, answer = model(data[0][chosen])
        run = data[1][(chosen + away[:, None]) % sizes[:, None]]
        of_answer = F.cross_entropy(answer.flatten(0, 1), data[2][chosen].flatten(), reduction="none")
        of_states = F.cross_entropy(states.flatten(0, 2), run.flatten(), reduction="none").view(run.shape)
        weights = counted / counted.sum(1, keepdim=True).clamp_min(1)
        return of_answer.view(chosen.shape).mean(1) + (of_states.mean(1) * weights).sum(1)

    history: list[torch.Tensor] = []

    @torch.no_grad()
    def note(_: Fit) -> None:
        both = [
            model(one[0].expand(len(arms), -1, -1))[1].argmax(-1).eq(one[2]).double().mean(1) for one in (valid, test)
        ]
        history.append(torch.stack(both))

    places = ((torch.arange(STEPS * BATCH) + 0.5) / (STEPS * BATCH))[:, None]
    train(
        model, places, places, losses, optimizer=StackedAdam(model, rates), epochs=EPOCHS, batch_size=BATCH, seed=seed,
        on_epoch=note,
    )  # fmt: skip
    valid_test = torch.stack(history, 1).unflatten(2, shape)  # (2, epochs, arms, sizes, rates)
    flat = valid_test.permute(0, 2, 3, 1, 4).flatten(3)
    best = flat[0].argmax(-1, keepdim=True)
    return {"accuracy": flat[1].gather(-1, best)[..., 0], "base_rate": test[2].double().mean()[None]}


def strings_learned(*, arm: str, size: int, networks: Path) -> dict[str, float]:
    """The test accuracy of one arm and size, in percent, from the artifact of its seed."""
    found = load_file(networks)
    return {"accuracy": 100 * float(found["accuracy"][ARMS.index(arm), SIZES.index(size)])}
