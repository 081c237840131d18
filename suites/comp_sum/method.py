r"""Comp-sum losses, their H-consistency bounds and smooth adversarial versions (arXiv:2304.07288).

Scores h (N, n) of n classes, targets y (N,), s = softmax(h), and u = sum_{y' != y} exp(h_{y'} - h_y) = 1 / s_y - 1. A
comp-sum loss is a concave transform of u, for tau >= 0

    l_tau(h, y) = Phi_tau(u),    Phi_tau(u) = ((1 + u)^(1 - tau) - 1) / (1 - tau),    Phi_1(u) = log(1 + u):

the sum-exponential loss 1/s_y - 1 at tau = 0, cross-entropy at 1, generalised cross-entropy (1 - s_y^q) / q at 1 + q,
and the mean absolute error 1 - s_y at 2. With q the probabilities of the labels at x, the risk sum_y q_y l_tau(h, y) is
least at s proportional to q^(1 / (2 - tau)) for tau < 2. What a classifier loses in zero-one risk, b = max q - q_k for
its choice k, is bounded by what its scores lose in that risk: `regret_floor` T_tau(b) <= regret, b <= `bound`(regret).

The smooth adversarial loss adds the largest change of the margins D(x) = (h_y - h_{y'})_{y' != y} in a ball around x,

    Phi_tau(sum_{y' != y} exp(-(h_y - h_{y'}) / rho)) + nu sup_{x'} ||D(x') - D(x)||_2,

which for nu >= sqrt(n - 1) / rho is above the adversarial margin loss. "adv-comp-sum" minimises its mean, the worst x'
by projected gradient ascent (`adv_comp_sum`); weight decay is the optimiser's.

    loss = comp_sum(model(inputs), targets, tau=1.2)
    loss = adv_comp_sum(model, inputs, targets, eps=0.1, nu=3.0)

Scores of half precision are computed with, and their losses returned, in float32. Losses with tau < 1 grow like
exp((1 - tau) CE): past exp(68) in float32 (exp(689) in float64) they go on along their tangent, so that values and
gradients of finite scores are finite, but for gradients above 65,504 in float16. A target with score -inf has the loss
inf, or 1 / (tau - 1) for tau > 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional as F

from baselines.adversarial import near_start, pgd
from baselines.losses import Reduction, checked, cross_entropy, expectation, reduce, require, visible

Model = Callable[[torch.Tensor], torch.Tensor]


def comp_sum(
    scores: torch.Tensor, targets: torch.Tensor, *, tau: float = 1.0, reduction: Reduction = "mean"
) -> torch.Tensor:
    """l_tau of scores (N, n), n >= 2, and targets int64 (N,): a scalar, or (N,) for reduction "none".

    Raises ValueError for wrong shapes or dtypes, a tau that is not a finite number >= 0, targets out of range (CPU).
    """
    _check_tau(tau)
    return reduce(_of_cross_entropy(cross_entropy(scores, targets, reduction="none"), tau), reduction)


def transform(u: torch.Tensor, tau: float) -> torch.Tensor:
    """Phi_tau(u) of u >= 0, any shape: increasing, concave, 0 at 0, with the derivative (1 + u)^(-tau)."""
    _check_tau(tau)
    require(not visible(u) or not bool((u < 0).any()), "u must be at least 0", "a negative one")
    return _of_cross_entropy(torch.log1p(u), tau)


def _of_cross_entropy(surprise: torch.Tensor, tau: float) -> torch.Tensor:
    """Phi_tau as a function of log(1 + u), which is cross-entropy."""
    if tau == 1:
        return surprise
    exponent = (1 - tau) * surprise
    if tau > 1:  # the derivative of expm1 is taken as its value plus 1, which has no digits for a small s_y
        return torch.where(exponent > -1, torch.expm1(exponent), exponent.exp() - 1) / (1 - tau)
    # exp(20) is room for what lies beyond and for the sum over a batch.
    limit = math.log(torch.finfo(exponent.dtype).max) - 20
    beyond = math.exp(limit) * F.relu(exponent - limit)
    return (torch.expm1(exponent.clamp_max(limit)) + beyond) / (1 - tau)


def _check_tau(tau: float) -> None:
    require(0 <= tau < math.inf, "tau must be a finite number of at least 0", tau)


# Conditional risks: predicted p and true q, both (..., n) and of sum 1 over the last dimension.


def conditional_risk(p: torch.Tensor, q: torch.Tensor, *, tau: float) -> torch.Tensor:
    """sum_y q_y l_tau of the predicted probabilities p, (...); a class with q_y = 0 adds nothing, whatever its p_y."""
    _check_tau(tau)
    return expectation(q, _of_cross_entropy(-p.log(), tau))


def best_probabilities(q: torch.Tensor, *, tau: float) -> torch.Tensor:
    """The p of least conditional risk: proportional to q^(1 / (2 - tau)), for tau >= 2 the limit, all on max q."""
    _check_tau(tau)
    if tau >= 2:
        return F.one_hot(q.argmax(-1), q.shape[-1]).to(q)
    return F.softmax(q.log() / (2 - tau), dim=-1)


def best_risk(q: torch.Tensor, *, tau: float) -> torch.Tensor:
    """The least conditional risk over all scores, (...); for tau >= 2 an infimum that no scores attain."""
    _check_tau(tau)
    if tau >= 2:
        return (1 - q.amax(-1)) / (tau - 1)
    if tau == 1:
        return -torch.xlogy(q, q).sum(-1)
    return torch.expm1((2 - tau) * (q.log() / (2 - tau)).logsumexp(-1)) / (1 - tau)


def best_bounded_loss(limit: torch.Tensor, *, tau: float, classes: int) -> torch.Tensor:
    """The least l_tau of scores in [-limit, limit]: Phi_tau((n - 1) exp(-2 limit)). Below it no risk can go."""
    _check_classes(classes)
    return transform((classes - 1) * torch.exp(-2 * limit), tau)


# H-consistency bounds.


def regret_floor(b: torch.Tensor, *, tau: float, classes: int) -> torch.Tensor:
    """T_tau(b), any shape: the least regret in conditional risk that goes with a zero-one regret of b in [0, 1]."""
    _check_tau(tau)
    _check_classes(classes)
    if tau == 1:
        return (torch.xlogy(1 + b, 1 + b) + torch.xlogy(1 - b, 1 - b)) / 2
    scale = (tau - 1) * classes ** (tau - 1)
    if tau >= 2:
        return b / scale
    power = 1 / (2 - tau)  # large near tau = 2: sums of powers by their logarithms
    mean = torch.logaddexp(power * torch.log1p(b), power * torch.log1p(-b)) - math.log(2)
    gain = torch.expm1((2 - tau) * mean)
    return gain / scale if tau > 1 else gain / ((tau - 1) * 2 ** (tau - 1))


def bound(regret: torch.Tensor, *, tau: float, classes: int) -> torch.Tensor:
    """Gamma_tau, the inverse of T_tau: the largest zero-one regret that goes with a regret >= 0; at most 1.

    By bisection, within 1e-7 in float64. For a hypothesis set H both regrets are to the best of H plus its
    minimizability gap, the least risk in H less the mean of the least conditional risks.
    """
    low, high = torch.zeros_like(regret), torch.ones_like(regret)
    for _ in range(60):
        middle = (low + high) / 2
        within = regret_floor(middle, tau=tau, classes=classes) <= regret
        low, high = torch.where(within, middle, low), torch.where(within, high, middle)
    return high


def simple_bound(regret: torch.Tensor, *, tau: float, classes: int) -> torch.Tensor:
    """A simpler bound above `bound`: sqrt(2^tau (2 - tau) r), sqrt(2 n^(tau - 1) r) from tau = 1, linear from 2."""
    _check_tau(tau)
    _check_classes(classes)
    if tau < 1:
        return (2**tau * (2 - tau) * regret).sqrt()
    if tau < 2:
        return (2 * classes ** (tau - 1) * regret).sqrt()
    return (tau - 1) * classes ** (tau - 1) * regret


def _check_classes(classes: int) -> None:
    require(classes >= 2, "classes must be at least 2", classes)


# Adversarial versions.


def margins(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """D = (h_y - h_{y'})_{y' != y}, (N, n - 1), the other classes in their order; two scores of -inf are equal."""
    scores = checked(scores, targets)
    places = torch.arange(scores.shape[1] - 1, device=scores.device)
    target, others = scores.gather(1, targets[:, None]), scores.gather(1, places + (places >= targets[:, None]))
    return torch.where(target == others, 0, target - others)


def ramp(margin: torch.Tensor, rho: float) -> torch.Tensor:
    """The rho-margin function min(max(0, 1 - m / rho), 1): 1 / rho-Lipschitz, and at most exp(-m / rho)."""
    _check_rho(rho)
    return (1 - margin / rho).clamp(0, 1)


def margin_loss(scores: torch.Tensor, targets: torch.Tensor, *, tau: float = 1.0, rho: float = 1.0) -> torch.Tensor:
    """Phi_tau(sum_{y' != y} ramp(h_y - h_{y'})), (N,); its supremum over a ball of inputs is the adversarial one."""
    return transform(ramp(margins(scores, targets), rho).sum(1), tau)


def change(scores: torch.Tensor, perturbed: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """||D(x') - D(x)||_2, (N,), of the scores at x and x'; its gradient at no change is 0."""
    scores, perturbed = checked(scores, targets), checked(perturbed, targets)
    require(scores.shape == perturbed.shape, "perturbed must have the shape of scores", tuple(perturbed.shape))
    moved = torch.where(scores == perturbed, 0, perturbed - scores)  # -inf stays -inf: no change
    return torch.linalg.vector_norm(moved - moved.gather(1, targets[:, None]), dim=1)


def smooth_adversarial(
    scores: torch.Tensor,
    perturbed: torch.Tensor,
    targets: torch.Tensor,
    *,
    nu: float,
    tau: float = 1.0,
    rho: float = 1.0,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """Phi_tau(sum_{y' != y} exp(-(h_y - h_{y'}) / rho)) + nu ||D(x') - D(x)||_2 of the scores at x and at its worst x'.

    Raises ValueError for nu < 0, rho <= 0 and what `comp_sum` refuses.
    """
    _check_rho(rho)
    require(nu >= 0, "nu must be at least 0", nu)
    natural = comp_sum(checked(scores, targets) / rho, targets, tau=tau, reduction="none")
    return reduce(natural + nu * change(scores, perturbed, targets), reduction)


def least_nu(classes: int, rho: float) -> float:
    """sqrt(n - 1) / rho: from this nu on the smooth loss is above the adversarial margin loss."""
    _check_classes(classes)
    _check_rho(rho)
    return math.sqrt(classes - 1) / rho


def adv_comp_sum(
    model: Model,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    eps: float,
    nu: float,
    tau: float = 1.0,
    rho: float = 1.0,
    steps: int = 10,
    generator: torch.Generator | None = None,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """The objective of adv-comp-sum on a batch of inputs in [0, 1], the ball that of l_inf and radius eps.

    x' is found by `steps` of projected gradient ascent of size 2.5 eps / steps on the change of the margins, from a
    point next to x (at x itself the change has no gradient), and is a constant for the parameters' gradient.
    """
    with torch.no_grad():
        fixed = model(inputs)
    worst = pgd(
        lambda x: change(fixed, model(x), targets),
        inputs, near_start(inputs, generator), eps=eps, step=2.5 * eps / steps, steps=steps,
    )  # fmt: skip
    return smooth_adversarial(model(inputs), model(worst), targets, nu=nu, tau=tau, rho=rho, reduction=reduction)


def _check_rho(rho: float) -> None:
    require(0 < rho < math.inf, "rho must be a positive number", rho)
