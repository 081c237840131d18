r"""Policy gradients on forking tokens only (arXiv:2506.01939): the fifth of the tokens that has the highest entropy.

For responses (B, T) with logits z (B, T, V) before each token, p = softmax(z), over the n valid tokens of a batch:

    H = -sum_v p_v log p_v                                       in nats, of the policy that is updated
    I = 1 on the K = max(1, ceil(share n)) valid tokens of largest H, 0 elsewhere; a constant
    J = sum I min(rho A, clip(rho, 1 - low, 1 + high) A) / sum I       rho = exp(logp - old)

The loss is -J, dual-clipped at A < 0. `share` is 0.2, and share 1 is DAPO's token-mean loss. Two things that copies do
differently are options: over which tokens the largest are looked for (`scope`), and by what the sum is divided
(`denominator`).

    loss = forking_loss(logp, old, advantages, token_entropy(logits), mask)

Decoding by entropy takes one temperature where H exceeds a threshold and another elsewhere (`two_temperatures`), and
`overlap`, `change_by_percentile` and `profile` are the paper's measures of the pattern of entropies.
"""

from __future__ import annotations

import math
from typing import Literal

import torch

from baselines.losses import require, visible, widened
from baselines.reinforcement.policy_gradient import aggregate, ppo_terms, token_entropy

__all__ = [
    "change_by_percentile",
    "fork_mask",
    "forking_loss",
    "overlap",
    "overlong_penalty",
    "profile",
    "quantile_mask",
    "selection_size",
    "token_entropy",
    "two_temperatures",
]

Scope = Literal["batch", "response"]
"""batch: the largest of all tokens that are given (the official code gives it one micro-batch). response: of each
response on its own, which is what the former does with micro-batches of one response."""
Denominator = Literal["selected", "all"]
"""selected: the paper's equation and its official code. all: every valid token, as TRL has it, `share` times that."""


def selection_size(tokens: int, share: float) -> int:
    """max(1, ceil(share tokens)), and 0 of none. Raises ValueError for a share outside [0, 1].

    The ceiling forgives the rounding of share * tokens: a fifth of 15 is 3.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share}")
    return min(tokens, max(1, math.ceil(share * tokens - 1e-9 * max(1, tokens))))


def fork_mask(entropy: torch.Tensor, mask: torch.Tensor, *, share: float = 0.2, scope: Scope = "batch") -> torch.Tensor:
    """I, bool (B, T): of equal entropies the earlier tokens. Entropies outside the mask are never looked at.

    Raises ValueError for shapes that differ, a NaN in the mask, a share outside [0, 1] and an unknown scope.
    """
    inside = _checked(entropy, mask)
    if scope == "response":
        rows = [fork_mask(one[None], row[None], share=share) for one, row in zip(entropy, inside, strict=True)]
        return torch.cat(rows) if rows else inside.clone()
    if scope != "batch":
        raise ValueError(f"scope must be batch or response, got {scope!r}")
    ranked = torch.where(inside, widened(entropy.detach()), -torch.inf).flatten()
    # Valid tokens first also where their entropy is -inf, which no distribution has but a caller's number may.
    order = ranked.sort(descending=True, stable=True).indices
    order = order[inside.flatten()[order]]
    chosen = torch.zeros(ranked.shape, dtype=torch.bool, device=ranked.device)
    chosen[order[: selection_size(len(order), share)]] = True
    return chosen.view(mask.shape)


def quantile_mask(entropy: torch.Tensor, mask: torch.Tensor, *, share: float = 0.2) -> torch.Tensor:
    """I by a threshold, as TRL has it: H >= the (1 - share)-quantile of the valid tokens, bool (B, T); all ties kept.

    Raises ValueError as `fork_mask` does.
    """
    inside = _checked(entropy, mask)
    selection_size(0, share)
    valid = widened(entropy.detach())[inside]
    if not len(valid):
        return inside.clone()
    return inside & (widened(entropy.detach()) >= valid.quantile(1 - share))


def _checked(entropy: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if entropy.shape != mask.shape or entropy.ndim != 2:
        raise ValueError(f"entropy {tuple(entropy.shape)} and mask {tuple(mask.shape)} must be of one shape (B, T)")
    inside = mask.bool()
    if visible(entropy):
        wrong = (entropy.isnan() & inside).nonzero()[:5].tolist()
        require(not wrong, "entropies must not be NaN", f"NaN at (response, token) {wrong}")
    return inside


def forking_loss(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    entropy: torch.Tensor,
    mask: torch.Tensor,
    *,
    share: float = 0.2,
    low: float = 0.2,
    high: float = 0.28,
    dual: float | None = 10.0,
    scope: Scope = "batch",
    denominator: Denominator = "selected",
    chosen: torch.Tensor | None = None,
) -> torch.Tensor:
    """-J, a scalar; logp, old, entropy and mask are (B, T), advantages (B, T) or (B, 1).

    No gradient passes through `entropy`. `chosen`, bool (B, T), takes the place of I. A mask of nothing gives 0.
    Raises ValueError for shapes that do not go together, negative clip ranges, dual <= 1 and unknown options.
    """
    if denominator not in ("selected", "all"):
        raise ValueError(f"denominator must be selected or all, got {denominator!r}")
    if chosen is None:
        chosen = fork_mask(entropy, mask, share=share, scope=scope)
    if chosen.shape != mask.shape:
        raise ValueError(f"chosen must be (B, T) = {tuple(mask.shape)}, got {tuple(chosen.shape)}")
    kept = chosen.bool() & mask.bool()
    terms = ppo_terms(logp, old, advantages, kept, low=low, high=high, dual=dual)
    if denominator == "selected":
        return aggregate(terms, kept)
    return aggregate(torch.where(kept, terms, 0), mask)


def overlong_penalty(lengths: torch.Tensor, limit: int, buffer: int) -> torch.Tensor:
    """DAPO's addition to the reward of responses of these lengths (B,): 0 up to limit - buffer, then down to -1.

    Raises ValueError where the buffer is not positive and at most the limit.
    """
    if not 0 < buffer <= limit:
        raise ValueError(f"buffer must be positive and at most the limit {limit}, got {buffer}")
    return -((lengths - (limit - buffer)) / buffer).clamp(0, 1)


def two_temperatures(logits: torch.Tensor, *, threshold: float, high: float, low: float) -> torch.Tensor:
    """z / `high` where H > threshold, z / `low` elsewhere, (..., V); H of softmax(z) itself.

    Raises ValueError for temperatures that are not positive.
    """
    if min(high, low) <= 0:
        raise ValueError(f"temperatures must be positive, got high = {high}, low = {low}")
    logits = widened(logits)
    forks = token_entropy(logits) > threshold
    return logits / torch.where(forks, high, low)[..., None]


# The pattern of entropies.


def overlap(first: torch.Tensor, second: torch.Tensor, mask: torch.Tensor, *, share: float = 0.2) -> float:
    """The fraction of the top `share` of tokens by one entropy (B, T) that are in the top by another. NaN of none."""
    a, b = (fork_mask(one, mask, share=share) for one in (first, second))
    return float((a & b).sum() / a.sum())


def change_by_percentile(
    before: torch.Tensor, after: torch.Tensor, mask: torch.Tensor, *, bins: int = 20
) -> torch.Tensor:
    """Mean of after - before within each of `bins` equal parts of the tokens, sorted by `before`, float (bins,).

    Raises ValueError where there are fewer valid tokens than bins.
    """
    inside = _checked(before, mask) & _checked(after, mask)
    if int(inside.sum()) < bins:
        raise ValueError(f"there must be a token for each of the {bins} bins, got {int(inside.sum())}")
    base = widened(before)[inside]
    change = (widened(after)[inside] - base)[base.sort(stable=True).indices]
    return torch.stack([part.mean() for part in change.tensor_split(bins)])


def profile(entropy: torch.Tensor, *, share: float = 0.2) -> dict[str, float]:
    """How uneven the entropies of tokens are, from a vector (N,).

    mean; percentile_80; below_0_01 and below_0_1, the shares of tokens under 0.01 and 0.1 nats; gini, 0 for equal ones
    and near 1 for one token that has all; top_share, what the largest `share` of tokens have of the sum.
    Raises ValueError for none, a NaN and a negative one.
    """
    values = widened(entropy.detach()).flatten().sort().values
    if not len(values) or not bool((values >= 0).all()):
        raise ValueError("entropies must be non-negative numbers, and at least one")
    count, total = len(values), float(values.sum())
    ranks = torch.arange(1, count + 1, device=values.device, dtype=values.dtype)
    gini = float((2 * ranks - count - 1) @ values) / (count * total) if total > 0 else 0.0
    top = float(values[count - selection_size(count, share) :].sum())
    return {
        "mean": total / count,
        "percentile_80": float(values.quantile(0.8)),
        "below_0_01": float((values < 0.01).double().mean()),
        "below_0_1": float((values < 0.1).double().mean()),
        "gini": gini,
        "top_share": top / total if total > 0 else share,
    }
