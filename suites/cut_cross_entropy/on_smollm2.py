"""The head of a pretrained language model, SmolLM2-135M-Instruct: 49,152 words, width 576, the states of real text.

Everything is float32 on the CPU. Filtering at 2^-12, the authors' threshold for bfloat16, is what is new beside the
exact loss: what it skips depends on how peaked a trained model's predictions are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

import reference
from baselines.language_models import pretrained
from suites.cut_cross_entropy import method
from suites.cut_cross_entropy.costs import Costs, Losses, measured
from suites.cut_cross_entropy.exact import EPS, gradients_of
from suites.cut_cross_entropy.method import Problem, linear_cross_entropy

MODEL = "smollm2-135m-instruct-q4_1"
PARTS = 5
RATE = 0.01
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""From (states, classifier, next tokens) to the mean loss."""


def rows_of(tokenizer, place: int, rows: int, length: int) -> torch.Tensor:
    """int64 (rows, length + 1): the test part of WikiText-2 from the `place`-th of its five fifths on."""
    text, count = reference.load("wikitext-2-heldout", "test").text, rows * (length + 1)
    start = text.index("\n", len(text) * place // PARTS) + 1
    return torch.tensor(tokenizer(text[start : start + 12 * count]).input_ids[:count]).view(rows, length + 1)


def head_of(seed: int, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the output layer reads (N, D), its classifier (V, D), and the next tokens (N,), for part `seed`."""
    model, tokenizer = pretrained(MODEL)
    text = rows_of(tokenizer, seed % PARTS, rows, length)
    with torch.no_grad():
        states = model.model(text[:, :-1]).last_hidden_state.flatten(0, 1)
    return states, model.lm_head.weight.detach().clone(), text[:, 1:].flatten()


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The length of the difference over that of what is expected."""
    return float((found - expected).norm() / expected.norm())


def smollm2_head(*, seed: int, rows: int, length: int) -> dict[str, float]:
    """Loss and gradients of CCE, exact and filtered, against the plain loss; how much of the softmax is large.

    Blocks of (128, 128) are kept in the order of the vocabulary ("natural") and by the columns' mean logit ("sorted").
    """
    e, c, x = head_of(seed, rows, length)
    with torch.no_grad():
        softmax = (e @ c.T).softmax(1)
        share = float((softmax >= EPS).double().mean())
        small = float(softmax.where(softmax < EPS, 0).double().sum(1).mean())
        problem = Problem(e, c, None, x, sort=True, eps=EPS, rows=128, columns=128)
        _, means = problem.log_sum_exp()
        natural = float(gradients_of(problem).kept.double().mean())
        filtered = gradients_of(problem, means.argsort())
    inputs = (e.requires_grad_(), c.requires_grad_())
    plain = F.cross_entropy(inputs[0] @ inputs[1].T, x)
    expected = torch.autograd.grad(plain, inputs)
    loss = linear_cross_entropy(*inputs, x, **method.PRESETS["cce_exact"])
    exact = torch.autograd.grad(loss, inputs)
    kept = float(filtered.kept.double().mean())
    return {
        "nats": float(plain.detach()), "large_share": share, "large_count": share * len(c), "small_mass": small,
        "loss_gap": float((loss - plain).detach().abs()), "gradient_gap": max(map(relative, exact, expected)),
        "filtered_gap": max(map(relative, (filtered.e, filtered.c), expected)),
        "kept_natural": natural, "kept_sorted": kept, "natural_minus_sorted": natural - kept,
    }  # fmt: skip


def smollm2_costs(*, seed: int, device: torch.device, rows: int, length: int, rounds: int) -> Costs:
    """Peak MiB beyond the inputs and milliseconds of both losses on the real head, in interleaved rounds."""
    e, c, x = (one.to(device) for one in head_of(seed, rows, length))
    inputs = (e.requires_grad_(), c.requires_grad_())
    losses: Losses = {
        "plain": lambda: F.cross_entropy(inputs[0] @ inputs[1].T, x),
        "cce": lambda: linear_cross_entropy(*inputs, x),
    }
    return measured(losses, inputs, rounds)


STEPS: dict[str, Loss] = {
    "plain": lambda e, c, x: F.cross_entropy(e @ c.T, x),
    "exact": linear_cross_entropy,
    "filtered": partial(linear_cross_entropy, filter_eps=EPS, gradients="backward", block=(128, 128)),
}


def smollm2_step(*, seed: int, length: int) -> dict[str, float]:
    """One step of SGD on all 135 M parameters by each loss: how far the updates are apart, and the losses after it."""
    plain: list[torch.Tensor] = []
    found: dict[str, float] = {}
    for name, loss in STEPS.items():
        model, tokenizer = pretrained(MODEL)
        row = rows_of(tokenizer, seed % PARTS, 1, length)

        def nats(model: nn.Module = model, row: torch.Tensor = row, loss: Loss = loss) -> torch.Tensor:
            states = model.model(row[:, :-1]).last_hidden_state.flatten(0, 1)
            return loss(states, model.lm_head.weight, row[:, 1:].flatten())

        before = nats()
        before.backward()
        update = [p.grad for p in model.parameters()]
        torch.optim.SGD(model.parameters(), lr=RATE).step()
        with torch.no_grad():
            found |= {f"{name}_before": float(before), f"{name}_after": float(nats())}
        if name == "plain":
            plain = update
        else:
            squares = [float((one - p).double().square().sum()) for one, p in zip(update, plain, strict=True)]
            found[f"{name}_gap"] = (sum(squares) / sum(float(p.double().square().sum()) for p in plain)) ** 0.5
    return found | {"fall": found["plain_before"] - found["plain_after"]}
