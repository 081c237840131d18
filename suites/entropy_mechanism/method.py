r"""The entropy mechanism of reinforcement learning with verifiable rewards (arXiv:2505.22617).

For a softmax policy with logits z (..., V), p = softmax(z), l = log p, H = -sum p l in nats, values Q and advantages
A = Q - sum p Q, Cov_p(x, y) = sum p x y - (sum p x)(sum p y):

    H(z + dz) - H(z) = -Cov_p(l, dz) + O(|dz|^2)
    policy gradient   dz = eta p A:   dH ~ -eta Cov_p(l, p A)
    natural gradient  dz = eta A:     dH ~ -eta Cov_p(l, A)

So entropy falls where confident actions are the rewarded ones. From a batch of N tokens, shapes (B, T), the share of
token i is c_i = (logp_i - M(logp)) (A_i - M(A)), M the mean over the mask. A small minority of tokens has nearly all of
it, and two losses hold these back; rho = exp(logp - old):

    Clip-Cov   M(keep max(-A rho, -A clip(rho, 1 - low, 1 + high))),   keep = 0 on max(1, int(share N)) tokens at random
               among those with lower < c_i < upper that PPO has not clipped
    KL-Cov     M(-A rho + [i is selected] coefficient |logp - old|),   the max(1, int(N percent / 100)) largest c_i

Over the steps of a run the paper finds R = -a exp(H) + b, so that reward is bought with entropy and ends at b - a.

    loss = kl_cov(logp, old, advantages, mask, percent=0.2)
    law = EntropyLaw.fit(entropies, rewards)
    print(law.ceiling)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from baselines.losses import widened

# The lemma, and what the two gradients do to entropy.


def covariance(logits: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cov_p(x, y), (...), of two functions of the action, (..., V), under softmax(logits)."""
    p = logits.softmax(-1)
    return (p * x * y).sum(-1) - (p * x).sum(-1) * (p * y).sum(-1)


def advantages(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """A = Q - sum p Q, (..., V)."""
    return values - (logits.softmax(-1) * values).sum(-1, keepdim=True)


def entropy_change(logits: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """-Cov_p(l, dz), (...): what a small step dz (..., V) of the logits does to the entropy, in nats (the lemma).

    Actions of logit -inf have no part in it, as p log p is 0 there.
    """
    logp = logits.log_softmax(-1)
    return -covariance(logits, logp.masked_fill(logp == -torch.inf, 0), step)


def policy_gradient_change(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """-Cov_p(l, p A), (...): dH per unit of the learning rate under one expected policy-gradient step."""
    return entropy_change(logits, logits.softmax(-1) * advantages(logits, values))


def natural_gradient_change(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """-Cov_p(l, A), (...): the same under one natural policy-gradient step."""
    return entropy_change(logits, advantages(logits, values))


# The two losses.


def token_covariance(logp: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """c_i, (B, T), and 0 outside the mask; a constant.

    Its mean over the tokens is the covariance of logp and A. With one response in the batch, or equal advantages, it is
    zero. Raises ValueError for shapes that differ, and where no token is in the mask.
    """
    _check(logp, logp, advantages, mask)
    return torch.where(mask.bool(), _products(logp, advantages, mask.bool()), 0)


def _products(logp: torch.Tensor, advantages: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """c_i of the tokens inside, and anything finite elsewhere."""
    count = inside.sum()
    logp, advantages = (torch.where(inside, widened(one.detach()), 0) for one in (logp, advantages))
    return (logp - logp.sum() / count) * (advantages - advantages.sum() / count)


def selection_size(tokens: int, percent: float) -> int:
    """max(1, int(tokens percent / 100)), and at most all: the floor is why small (micro-)batches select too many.

    Raises ValueError for a percentage outside (0, 100] and for no token.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"percent is a percentage in (0, 100], got {percent}")
    if tokens < 1:
        raise ValueError(f"there must be at least one token, got {tokens}")
    return min(tokens, max(1, int(tokens * percent / 100)))


def clip_cov_dropped(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    share: float = 2e-4,
    lower: float = 1.0,
    upper: float = 5.0,
    low: float = 1.0,
    high: float = 1.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """The tokens that Clip-Cov takes out of the loss, bool (B, T). `share` is a fraction of the tokens of the mask.

    Raises ValueError for a share outside (0, 1], lower >= upper, and negative clip ranges.
    """
    _, held = _ppo_terms(logp.detach(), old, advantages, mask, low, high)
    chosen = _clip_cov_chosen(logp, advantages, mask, held, share, lower, upper, generator)
    dropped = torch.zeros(mask.numel(), dtype=torch.bool, device=mask.device)
    dropped[chosen] = True
    return dropped.view(mask.shape)


def _clip_cov_chosen(
    logp: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    held: torch.Tensor,
    share: float,
    lower: float,
    upper: float,
    generator: torch.Generator | None,
) -> torch.Tensor:
    """The tokens that `clip_cov_dropped` takes out, as places in the flattened batch, given what PPO has clipped."""
    if not 0 < share <= 1:
        raise ValueError(f"share is a fraction of the tokens in (0, 1], got {share}")
    if not lower < upper:
        raise ValueError(f"lower must be below upper, got {lower} and {upper}")
    inside = mask.bool()
    c = _products(logp, advantages, inside)
    candidates = ((lower < c) & (c < upper) & ~held & inside).flatten().nonzero().squeeze(1)
    order = torch.randperm(len(candidates), generator=generator, device=generator.device if generator else None)
    return candidates[order[: selection_size(int(inside.sum()), 100 * share)].to(candidates.device)]


def clip_cov(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    share: float = 2e-4,
    lower: float = 1.0,
    upper: float = 5.0,
    low: float = 1.0,
    high: float = 1.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Clip-Cov, a scalar to minimise. logp, old, advantages and mask are (B, T); gradients flow through logp.

    The defaults are those of the 7B script: with low = high = 1 PPO's own clipping is almost off. Dropped tokens still
    count in the mean. The choice is drawn from `generator`, or from torch's own.
    """
    terms, held = _ppo_terms(logp, old, advantages, mask, low, high)
    with torch.no_grad():
        chosen = _clip_cov_chosen(logp, advantages, mask, held, share, lower, upper, generator)
    inside = mask.bool()
    kept = inside.flatten().index_fill(0, chosen, False).view(mask.shape)
    return torch.where(kept, terms, 0).sum() / inside.sum()


def kl_cov_selected(
    logp: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, *, percent: float = 0.2
) -> torch.Tensor:
    """The tokens that KL-Cov penalises, bool (B, T): those of the largest c_i. `percent` of the mask, in percent.

    Raises ValueError for a percentage outside (0, 100].
    """
    c = token_covariance(logp, advantages, mask)
    inside = mask.bool().flatten()
    ranked = torch.where(inside, c.flatten(), -torch.inf)
    selected = torch.zeros_like(inside)
    selected[ranked.topk(selection_size(int(inside.sum()), percent)).indices] = True
    return selected.view(mask.shape)


def kl_cov(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    percent: float = 0.2,
    coefficient: float = 1.0,
) -> torch.Tensor:
    """KL-Cov, a scalar to minimise: shapes as in `clip_cov`. There is no PPO clipping.

    The penalty is |logp - old|, whose gradient is 0 where both are equal: it acts from the second update on the same
    rollouts on. Raises ValueError for a negative coefficient.
    """
    if coefficient < 0:
        raise ValueError(f"coefficient is >= 0, got {coefficient}")
    _check(logp, old, advantages, mask)
    selected = kl_cov_selected(logp, advantages, mask, percent=percent)
    difference = torch.where(mask.bool(), widened(logp) - widened(old), 0)
    penalty = torch.where(selected, coefficient * difference.abs(), 0)
    # Without an advantage the ratio does not matter: 0 times an infinite one would be NaN.
    return _mean(-advantages * torch.where(advantages == 0, 0, difference).exp() + penalty, mask)


def _check(logp: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor) -> None:
    shapes = [tuple(one.shape) for one in (logp, old, advantages, mask)]
    if len(set(shapes)) > 1 or logp.ndim != 2:
        raise ValueError(f"logp, old, advantages and mask must be of one shape (B, T), got {shapes}")
    if not mask.any():
        raise ValueError("no token is in the mask")


def _ppo_terms(
    logp: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, low: float, high: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """PPO's loss of each token, (B, T), and where its ratio is clipped, a constant; rho is 1 outside the mask."""
    _check(logp, old, advantages, mask)
    if low < 0 or high < 0:
        raise ValueError(f"clip ranges are >= 0, got low = {low}, high = {high}")
    difference = torch.where(mask.bool(), widened(logp) - widened(old), 0)
    costs, rho = -widened(advantages), difference.detach().exp()
    bound = rho.clamp(1 - low, 1 + high)
    held = costs * bound > costs * rho
    # A constant must not meet the gradient of an infinite ratio, nor 0 its value: 0 times infinity is NaN.
    moving = torch.where(held | (costs == 0), 0, difference).exp()
    return costs * torch.where(held, bound, moving), held


def _mean(terms: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.where(mask.bool(), terms, 0).sum() / mask.sum()


# The law.


@dataclass(frozen=True)
class EntropyLaw:
    """R = -a exp(H) + b."""

    a: float
    b: float

    @classmethod
    def fit(cls, entropy: torch.Tensor, reward: torch.Tensor) -> EntropyLaw:
        """Least squares over the steps of a run, (S,) each. Raises ValueError for fewer than 3 steps or one entropy."""
        if entropy.shape != reward.shape or entropy.ndim != 1 or len(entropy) < 3:
            raise ValueError(f"needs 3 or more steps, (S,) each, got {tuple(entropy.shape)} and {tuple(reward.shape)}")
        x, reward = -entropy.double().exp(), reward.double()
        spread = x - x.mean()
        if not spread.any():
            raise ValueError("the entropy never changes: there is nothing to fit")
        a = (spread * reward).sum() / spread.square().sum()
        return cls(float(a), float(reward.mean() - a * x.mean()))

    def __call__(self, entropy: torch.Tensor) -> torch.Tensor:
        """R at these entropies."""
        return self.b - self.a * entropy.exp()

    def slope(self, entropy: torch.Tensor) -> torch.Tensor:
        """dR/dH = -a exp(H): what a nat of entropy buys."""
        return -self.a * entropy.exp()

    @property
    def ceiling(self) -> float:
        """b - a, R at no entropy."""
        return self.b - self.a
