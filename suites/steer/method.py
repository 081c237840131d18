r"""STEER: token weights by the entropy change that an update of each token causes (arXiv:2510.10150).

For the sampled token a of a softmax with logits z, p = softmax(z), x = p_a, x_old its probability when it was sampled,
advantage A, entropy H in nats, a gradient step of size eta on A x / x_old changes the entropy, to first order, by

    dz = eta (A x / x_old) (e_a - p)
    dH = -eta (A x / x_old) [ x (ln x + H) - sum_b p_b^2 (ln p_b + H) ]                    exact, `entropy_change`
    dH ~ -eta (A / x_old) x^2 (1 - x) (ln x + H)               the sampled token's logit alone, `diagonal_change`
    Omega = (A / x_old) x (1 - x) (ln x + H)                   what the official code has, `estimate`

The token's loss is multiplied by a constant that falls with |Omega|, over the valid tokens of a micro-batch:

    exponential   exp(-k |Omega|),  k = -ln(lambda_min) / max(max |Omega|, 0.02)                 in [lambda_min, 1]
    linear        w_max - (|Omega| - min) / (max - min) (w_max - w_min)                          in [w_min, w_max]

    loss = steer_loss(logp, old, advantages, entropy, mask)

The loss is PPO with dual-clip, the mean over the number of tokens, not over the sum of weights.
"""

from __future__ import annotations

import math
from typing import Literal

import torch

from baselines.losses import require, visible, widened
from baselines.reinforcement.policy_gradient import aggregate, ppo_terms

Weighting = Literal["exponential", "linear"]
FLOOR = 0.02
"""The least maximum of |Omega| that the exponential weights are scaled by."""
TINY = 1e-8
LONGEST_RATIO = 20.0
"""Log-ratios are held in [-20, 20]."""


# What an update of a token does to the entropy.


def entropy_change(
    logits: torch.Tensor, actions: torch.Tensor, advantages: torch.Tensor, old: torch.Tensor
) -> torch.Tensor:
    """dH / eta of each token by the formula of a policy in tables, (B, T), from logits (B, T, V), actions int64 (B, T),
    advantages (B, T) or (B, 1), and log-probabilities `old` (B, T) under the policy that sampled."""
    logp = widened(logits).log_softmax(-1)
    p = logp.exp()
    likely = torch.where(p > 0, logp + _entropy(p)[..., None], 0)
    x, of_action = (one.gather(-1, actions[..., None]).squeeze(-1) for one in (p, p * likely))
    return -advantages * x / widened(old).exp() * (of_action - (p.square() * likely).sum(-1))


def diagonal_change(
    logp: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, entropy: torch.Tensor
) -> torch.Tensor:
    """dH / eta, (B, T), where only the sampled token's logit moves: -(A / x_old) x^2 (1 - x) (ln x + H)."""
    x = widened(logp).exp()
    return -advantages / widened(old).exp() * x.square() * (1 - x) * torch.where(x > 0, logp + entropy, 0)


def _entropy(p: torch.Tensor) -> torch.Tensor:
    return torch.special.entr(p).sum(-1)


def estimate(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    entropy: torch.Tensor,
    *,
    power_x: float = 1.0,
    power_q: float = 1.0,
) -> torch.Tensor:
    """Omega = (A / x_old) x^power_x (1 - x)^power_q (ln x + H), a constant, (B, T); what is not finite is 0.

    x is held in [1e-8, 1 - 1e-8], x_old in [1e-8, 1]. `entropy` is that of the policy that sampled, as the official
    code has it. Raises ValueError for shapes that differ.
    """
    if not logp.shape == old.shape == entropy.shape or logp.ndim != 2:
        shapes = [tuple(one.shape) for one in (logp, old, entropy)]
        raise ValueError(f"logp, old and entropy must be of one shape (B, T), got {shapes}")
    if advantages.shape not in (logp.shape, (len(logp), 1)):
        raise ValueError(f"advantages must be (B, T) or (B, 1), got {tuple(advantages.shape)}")
    x, x_old = (widened(one.detach()).exp() for one in (logp, old))
    x, x_old = x.clamp(TINY, 1 - TINY), x_old.clamp(TINY, 1)
    omega = widened(advantages) / x_old * x**power_x * (1 - x) ** power_q * (x.log() + widened(entropy.detach()))
    return torch.where(omega.isfinite(), omega, 0)


# The weights and the loss.


def token_weights(
    omega: torch.Tensor,
    mask: torch.Tensor,
    *,
    weighting: Weighting = "exponential",
    least: float = 0.8,
    most: float = 1.2,
) -> torch.Tensor:
    """lambda of each valid token, (B, T), and 0 elsewhere. least: lambda_min or w_min; most: w_max, linear only.

    Where all |Omega| are equal, linear weights are (w_min + w_max) / 2. Extremes are those of the tokens that are
    given: the official code gives it 8 responses at a time. Raises ValueError for shapes that differ, NaN in the mask,
    least outside (0, 1], most below least, and an unknown weighting.
    """
    if omega.shape != mask.shape:
        raise ValueError(f"omega {tuple(omega.shape)} and mask {tuple(mask.shape)} must be of one shape")
    require(0 < least <= 1, "least must lie in (0, 1]", least)
    inside = mask.bool()
    require(not visible(omega) or not bool((omega.isnan() & inside).any()), "omega must not be NaN", "NaN")
    size = torch.where(inside, widened(omega.detach()).abs(), 0)
    high = size.amax() if size.numel() else size.sum()
    if weighting == "exponential":
        weights = (size * (math.log(least) / high.clamp(min=FLOOR))).exp().clamp(least, 1)
    elif weighting == "linear":
        require(most >= least, "most must be at least least", most)
        low = torch.where(inside, size, high).amin() if size.numel() else high
        spread = high - low
        share = torch.where(spread > 0, (size - low) / torch.where(spread > 0, spread, 1), 0.5)
        weights = most - share * (most - least)
    else:
        raise ValueError(f"weighting must be exponential or linear, got {weighting!r}")
    return torch.where(inside, weights, 0)


def steer_loss(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    entropy: torch.Tensor,
    mask: torch.Tensor,
    *,
    weighting: Weighting = "exponential",
    least: float = 0.8,
    most: float = 1.2,
    low: float = 0.2,
    high: float = 0.28,
    dual: float | None = 10.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """The mean over valid tokens of lambda times PPO's clipped loss, a scalar; `weights` take the place of lambda.

    All (B, T), advantages also (B, 1). No gradient passes through lambda. A mask of nothing gives 0.
    """
    inside = mask.bool()
    held = torch.where(inside, widened(logp) - widened(old), 0).clamp(-LONGEST_RATIO, LONGEST_RATIO)
    terms = ppo_terms(held, torch.zeros_like(held), advantages, mask, low=low, high=high, dual=dual)
    if weights is None:
        omega = torch.where(inside, estimate(logp, old, advantages, entropy), 0)
        weights = token_weights(omega, mask, weighting=weighting, least=least, most=most)
    return aggregate(torch.where(inside, terms * weights, 0), mask)
