"""Run by test_cut_cross_entropy.py in a process of its own: the kernels in Triton's interpreter against float64."""

from __future__ import annotations

import itertools

import torch
from torch.nn import functional as F

from suites.cut_cross_entropy import kernels, method
from suites.cut_cross_entropy.method import Problem, linear_cross_entropy

kernels.SINGLE = kernels.HALF = ((16, 16, 16),) * 2


def worst(
    seed: int, softcap: float | None, with_bias: bool, eps: float, filters: tuple[bool, bool], accumulate: str
) -> float:
    """Largest difference between the kernels in float32 and the blockwise passes in float64; -1 if blocks differ."""
    rng = torch.Generator().manual_seed(seed)
    e, c, bias = (1.5 * torch.randn(shape, generator=rng) for shape in ((21, 19), (53, 19), (53,)))
    x = torch.randint(26, (21,), generator=rng)
    bias[26:] -= 40  # classes that hardly have a gradient, and blocks of them to drop
    g, h = torch.rand(21, generator=rng), torch.rand(21, generator=rng)
    options = {"softcap": softcap, "eps": eps, "sort": True, "rows": 16, "columns": 16}
    options |= dict(zip(("filter_e", "filter_c"), filters, strict=True), accumulate=accumulate)
    problem = Problem(e, c, bias if with_bias else None, x, **options)
    truth = Problem(e.double(), c.double(), bias.double() if with_bias else None, x, **options)
    lse, means, chosen = kernels.forward(problem)
    true_lse, true_means = truth.log_sum_exp()
    pairs = [(lse, true_lse), (means, true_means), (chosen, truth.target_logits())]
    for order in (None, true_means.argsort()):
        found = kernels.backward(problem, lse, g, h, order)
        expected = truth.backward(true_lse, g.double(), h.double(), order)
        assert torch.equal(found.kept, expected.kept), (found.kept, expected.kept)
        assert eps == 0 or not expected.kept.all(), "nothing was filtered"
        pairs += [(found.e, expected.e), (found.c, expected.c)] + [(found.bias, expected.bias)] * with_bias
    return max(float((a.double() - b).abs().max()) for a, b in pairs)


def worst_of_views() -> float:
    """Inputs that are columns of tables, transposed, of two dtypes, and masked by -inf: loss and gradients, relative.

    Through the public function, whose engine is set to the kernels.
    """
    method._engine = lambda device: kernels
    rng = torch.Generator().manual_seed(0)
    tables = [torch.randn(shape, generator=rng).requires_grad_() for shape in ((19, 21), (19, 53), (53, 2))]
    x = torch.randint(17, (21, 2), generator=rng)[:, 1]
    mask = torch.where(torch.arange(53) < 17, 0.0, -torch.inf)
    gaps = []
    for mixed in (False, True):
        e, c, bias = tables[0].T.bfloat16() if mixed else tables[0].T, tables[1].T, tables[2][:, 1] + mask
        loss = linear_cross_entropy(e, c, x, bias=bias, gradients="backward", filter_eps=None)
        truth = F.cross_entropy(e.double() @ c.double().T + bias.double(), x)
        found = [loss, *torch.autograd.grad(loss, tables)]
        expected = [truth, *torch.autograd.grad(truth, tables)]
        gaps += [float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True)]
    return torch.tensor(gaps).nan_to_num(nan=torch.inf).max().item()


if __name__ == "__main__":
    plain = itertools.product((None, 1.5), (False, True), (0.0,), ((True, True),), ("input",))
    filtered = itertools.product(
        (None,), (True,), (0.1,), ((True, True), (False, True), (True, False)), ("input", "float32")
    )
    print(max(worst(seed, *case) for seed, case in enumerate([*plain, *filtered])), worst_of_views())
