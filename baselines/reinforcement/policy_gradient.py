r"""Policy-gradient losses and their parts: REINFORCE, PPO, GRPO, KL penalties, entropy bonus. Pure functions.

Shapes are (B, T): B responses of T tokens (T = 1 for a bandit). A loss is a function (logp, old, advantages, mask) ->
scalar to be minimised, where `logp` are the log-probabilities of the taken actions under the policy that is trained,
`old` those under the policy that took them, `advantages` (B, T) or (B, 1) constants, and `mask` is True or 1 on the
tokens of the response. Other shapes are a ValueError, even if they would broadcast. What lies outside the mask is never
looked at, finite or not, and a mask of nothing gives 0. All is computed in float32 at least. rho = exp(logp - old):

    reinforce   -A logp
    ppo         max(-A rho, -A clip(rho, 1 - low, 1 + high)), and with dual-clip c at A < 0 at most -A c
    grpo        ppo with A of `group_advantages`; `clip_higher` is high = 0.28

No log-ratio makes a NaN: a token that is clipped, or whose advantage is 0, has gradient 0 however large its rho. Where
rho itself overflows (in float32 from a log-ratio of 89 on) an unclipped loss at A < 0 is inf: dual-clip bounds it.

A sum over tokens is made a mean in one of three ways (`Aggregation`), which weigh long responses differently.
"""

from __future__ import annotations

from typing import Literal

import torch

from baselines.losses import expectation, require, visible, widened

Aggregation = Literal["token_mean", "sequence_mean", "sequence_sum"]
"""token_mean: over all tokens of the batch (DAPO). sequence_mean: over responses, of the mean of each (GRPO).
sequence_sum: over responses, of the sum of each, divided by a constant length where one is given (Dr. GRPO)."""
Estimator = Literal["k1", "k2", "k3"]


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over the tokens in the mask. Raises ValueError for shapes that differ."""
    return aggregate(values, mask, "token_mean")


def aggregate(
    terms: torch.Tensor, mask: torch.Tensor, how: Aggregation = "token_mean", *, length: float | None = None
) -> torch.Tensor:
    """One number from terms (B, T). Responses without any token count as zero; `length` is for sequence_sum only.

    Raises ValueError for shapes that differ, an unknown `how`, and a length that is not positive or has no use.
    """
    _same_shape(terms=terms, mask=mask)
    if length is not None and (how != "sequence_sum" or length <= 0):
        raise ValueError(f"length is a positive number for sequence_sum, got {length} for {how}")
    kept = torch.where(mask.bool(), widened(terms), 0)
    if how == "token_mean":
        return kept.sum() / mask.sum().clamp(min=1)
    sums = kept.sum(-1)
    if how == "sequence_mean":
        return (sums / mask.sum(-1).clamp(min=1)).mean()
    if how == "sequence_sum":
        return sums.mean() / (1.0 if length is None else length)
    raise ValueError(f"how must be token_mean, sequence_mean or sequence_sum, got {how!r}")


def _same_shape(**named: torch.Tensor) -> None:
    shapes = {name: tuple(one.shape) for name, one in named.items()}
    if len({*shapes.values()}) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise ValueError(f"these must be of one shape (B, T): {shapes}")


def _check_advantages(advantages: torch.Tensor, mask: torch.Tensor) -> None:
    if advantages.ndim != 2 or advantages.shape not in (mask.shape, (len(mask), 1)):
        raise ValueError(f"advantages must be (B, T) or (B, 1), got {tuple(advantages.shape)} for {tuple(mask.shape)}")


def log_ratio(logp: torch.Tensor, old: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """log rho, (B, T), and 0 outside the mask, so that no gradient of padding is NaN."""
    _same_shape(logp=logp, old=old, mask=mask)
    return torch.where(mask.bool(), widened(logp) - widened(old), 0)


def ratio(logp: torch.Tensor, old: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """rho, (B, T), and 1 outside the mask."""
    return log_ratio(logp, old, mask).exp()


def reinforce(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    aggregation: Aggregation = "token_mean",
) -> torch.Tensor:
    """-A logp: right only while the policy is the one that acted, for no value of `old` is looked at."""
    _same_shape(logp=logp, old=old, mask=mask)
    _check_advantages(advantages, mask)
    counted = mask.bool() & (advantages != 0)
    return aggregate(-advantages * torch.where(counted, widened(logp), 0), mask, aggregation)


def ppo_terms(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    low: float = 0.2,
    high: float = 0.2,
    dual: float | None = None,
) -> torch.Tensor:
    """The loss of each token, (B, T). Raises ValueError for negative clip ranges and a dual-clip of 1 or less."""
    if low < 0 or high < 0:
        raise ValueError(f"clip ranges are >= 0, got low = {low}, high = {high}")
    if dual is not None and dual <= 1:
        raise ValueError(f"dual-clip must be > 1, got {dual}")
    _check_advantages(advantages, mask)
    difference = log_ratio(logp, old, mask)
    rho = difference.detach().exp()
    bound, held = rho.clamp(1 - low, 1 + high), _beyond(rho, advantages, low, high)
    if dual is not None:
        capped = (advantages < 0) & (rho > dual)
        bound, held = torch.where(capped, dual, bound), held | capped
    # A held token is a constant: the exponential of what was held must not meet its gradient of 0, for 0 inf is NaN.
    moving = torch.where(held | (advantages == 0), 0, difference).exp()
    return -advantages * torch.where(held, bound, moving)


def _beyond(rho: torch.Tensor, advantages: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return ((advantages > 0) & (rho > 1 + high)) | ((advantages < 0) & (rho < 1 - low))


def ppo(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    low: float = 0.2,
    high: float = 0.2,
    dual: float | None = None,
    aggregation: Aggregation = "token_mean",
    length: float | None = None,
) -> torch.Tensor:
    """PPO's clipped surrogate. With `group_advantages` this is GRPO (whose KL penalty is `kl_penalty`)."""
    terms = ppo_terms(logp, old, advantages, mask, low=low, high=high, dual=dual)
    return aggregate(terms, mask, aggregation, length=length)


def clipped(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    low: float = 0.2,
    high: float = 0.2,
) -> torch.Tensor:
    """Which tokens PPO has clipped, bool (B, T): they have no gradient."""
    _check_advantages(advantages, mask)
    return _beyond(ratio(logp.detach(), old, mask), advantages, low, high) & mask.bool()


def group_advantages(rewards: torch.Tensor, group: int, *, std: bool = True, epsilon: float = 1e-6) -> torch.Tensor:
    """GRPO's advantages, (B, 1), of rewards (B,) whose responses lie question by question, `group` of each.

    A = (r - mean) / (s + epsilon) with the unbiased standard deviation s (n - 1) of the group, as TRL and verl have it;
    without `std` only the mean is taken off (Dr. GRPO). A group whose rewards are all equal gets zeros. So does a group
    of one, where some code keeps the raw reward.

    Raises ValueError where the rewards do not fall into such groups, and where one is NaN or infinite.
    """
    grouped = _grouped(rewards, group)
    centred = grouped - grouped.mean(1, keepdim=True)
    # Exactly zero: the mean of equal numbers can be off by a rounding error, which a tiny s would blow up.
    centred = centred.where(grouped.amax(1, keepdim=True) != grouped.amin(1, keepdim=True), 0)
    if std and group > 1:
        centred = centred / (grouped.std(1, keepdim=True) + epsilon)
    return centred.view(-1, 1)


def informative(rewards: torch.Tensor, group: int) -> torch.Tensor:
    """Which groups have rewards that differ, bool (questions,): the others teach nothing, and DAPO draws them anew."""
    grouped = _grouped(rewards, group)
    return grouped.amax(1) > grouped.amin(1)


def _grouped(rewards: torch.Tensor, group: int) -> torch.Tensor:
    """(questions, group)."""
    if rewards.ndim != 1 or group < 1 or len(rewards) % group:
        raise ValueError(f"rewards (B,) must fall into groups of {group}, got the shape {tuple(rewards.shape)}")
    if visible(rewards):
        wrong = (~rewards.isfinite()).nonzero().flatten()[:10].tolist()
        require(not wrong, "rewards must be finite", f"NaN or infinity for the responses {wrong}")
    return widened(rewards).reshape(-1, group)


def kl_terms(logp: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor, kind: Estimator = "k3") -> torch.Tensor:
    """Schulman's estimators of KL(policy || reference) from tokens of the policy, (B, T); zero outside the mask.

    k1 = logp - reference and k3 = exp(reference - logp) - 1 - (reference - logp) have KL as their mean; k2 =
    (logp - reference)^2 / 2 has not, but of the three only k2 has the gradient of KL as the mean of its gradient: that
    of k1 is zero, that of k3 is the gradient of KL(reference || policy).
    """
    difference = log_ratio(logp, reference, mask)
    if kind == "k1":
        return difference
    if kind == "k2":
        return difference.square() / 2
    if kind == "k3":
        return torch.expm1(-difference) + difference
    raise ValueError(f"kind must be k1, k2 or k3, got {kind!r}")


def kl_penalty(
    logp: torch.Tensor,
    reference: torch.Tensor,
    mask: torch.Tensor,
    kind: Estimator = "k3",
    *,
    aggregation: Aggregation = "token_mean",
) -> torch.Tensor:
    """`kl_terms` as one number, to be added to a loss with its coefficient."""
    return aggregate(kl_terms(logp, reference, mask, kind), mask, aggregation)


def token_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy in nats over the last dimension; logits of -inf are actions that cannot be taken."""
    logp = widened(logits).log_softmax(-1)
    return -expectation(logp.exp(), logp)


def token_log_probs(logits: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """log p of the actions (B, T) from logits (B, T, V). Raises ValueError for other shapes."""
    if logits.shape[:-1] != actions.shape:
        raise ValueError(f"logits {tuple(logits.shape)} for actions {tuple(actions.shape)}: (B, T, V) for (B, T)")
    return widened(logits).log_softmax(-1).gather(-1, actions[..., None]).squeeze(-1)
