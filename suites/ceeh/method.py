r"""CEEH (arXiv:2602.22642): entropy for questions that are hard at present, brevity for answers that are right.

Question x has G responses y in a batch, with outcomes r in {0, 1} and lengths L; what is remembered of it are its
historical accuracy Acc_h and its length anchor L_x:

    Acc      = mean_y r                                  of the batch
    Acc_h   <- Acc_h + a (Acc - Acc_h)                   a = 0.2 upwards, 0.05 downwards; first Acc itself
    D        = 1 where Acc_h < mean Acc_h                over the questions that have been met
    L_x     <- min(L_x, shortest right response)
    R        = r + r max(-0.9, s (L_x - L) / L_x)        of the L_x before; only r where Acc < the Acc_h before
    A        = R - mean_y R

Entropy comes in by one of two ways, with H the entropy in nats before each token and T the number of steps:

    CEEH-EA  PPO on A + D min(alpha H, |A| / kappa), H a constant
    CEEH-ME  PPO on A, less c (1 + cos(pi t / T)) / 2 times sum(w H) / sum(w), where w = 1 + D (f - 1)

    memory = Memory(len(problems))
    visit = memory.visit(ids, correct, lengths)                        # once a batch, before its update
    advantages = group_advantages(correct + visit.bonus, group, std=False)
    loss = ceeh_me(logp, old, advantages, token_entropy(logits), mask, visit.hard, scale=annealed(step, steps))

The official code differs from the paper in D and in L_x; both are options of `Memory`. Its KL penalty to the start, of
0.001 with the estimator k3, is `baselines.reinforcement.policy_gradient.kl_penalty`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from baselines.losses import require, visible, widened
from baselines.reinforcement.policy_gradient import group_advantages, ppo, token_entropy

__all__ = [
    "Memory",
    "Visit",
    "annealed",
    "asymmetric_average",
    "ceeh_ea",
    "ceeh_me",
    "entropy_advantages",
    "group_advantages",
    "length_reward",
    "nag",
    "token_entropy",
    "weighted_entropy",
]

Difficulty = Literal["history", "current"]
"""history: the paper's, Acc_h after the batch against its mean over the questions met. current: the official code's,
Acc of the batch against the mean before it of Acc_h over all questions, -1 for those not met: <= is hard. There an
Acc_h of 0 counts as not met at the next update."""
Anchor = Literal["min", "ema"]
"""min: the paper's shortest so far. ema: the official code's average, a = 0.2 downwards and 0.05 upwards."""


def asymmetric_average(old: torch.Tensor, new: torch.Tensor, *, up: float = 0.2, down: float = 0.05) -> torch.Tensor:
    """old + a (new - old) with a = `up` where new > old, else `down`; any shape. Raises ValueError for rates not in
    [0, 1].

    Where `new` is random it comes to rest at an expectile, not at the mean: at that of up / (up + down) = 0.8.
    """
    if not (0 <= up <= 1 and 0 <= down <= 1):
        raise ValueError(f"rates must lie in [0, 1], got up = {up}, down = {down}")
    difference = new - old
    return old + torch.where(new > old, up * difference, down * difference)


def length_reward(
    lengths: torch.Tensor, anchors: torch.Tensor, *, scale: float = 0.1, floor: float = -0.9
) -> torch.Tensor:
    """max(floor, scale (L_x - L) / L_x) for right responses of `lengths` (B,), and 0 where `anchors` (B,) is NaN.

    It lies in [floor, scale], so that with the outcome 1 a right response stays above 0, what a wrong one has. The
    official script has the scale 0.1, its configuration 0.5. An anchor of 0 divides as one of 1 does.
    Raises ValueError for shapes that differ, scale < 0 and a floor outside (-1, 0].
    """
    if lengths.shape != anchors.shape:
        raise ValueError(f"lengths {tuple(lengths.shape)} and anchors {tuple(anchors.shape)} must be of one shape")
    require(scale >= 0, "scale must be >= 0", scale)
    require(-1 < floor <= 0, "floor must lie in (-1, 0]: at -1 a right answer is worth a wrong one", floor)
    anchors = widened(anchors)
    reward = (scale * (anchors - lengths) / anchors.clamp(min=1)).clamp(min=floor)
    return torch.where(anchors.isnan(), 0, reward)


@dataclass(frozen=True)
class Visit:
    """What a batch of B responses is told."""

    bonus: torch.Tensor  # the length reward to be added to the outcome, float64 (B,)
    hard: torch.Tensor  # D of the question of each response, bool (B,)


class Memory(nn.Module):
    """Historical accuracies and length anchors of N questions; buffers, so that a checkpoint keeps them."""

    accuracy: torch.Tensor  # Acc_h, float64 (N,), NaN before the first visit
    anchors: torch.Tensor  # L_x in tokens, float64 (N,), NaN before the first right response

    def __init__(
        self, questions: int, *, difficulty: Difficulty = "history", anchor: Anchor = "min", up: float = 0.2,
        down: float = 0.05, scale: float = 0.1, floor: float = -0.9,
    ) -> None:  # fmt: skip
        super().__init__()
        require(questions >= 1, "there must be a question", questions)
        if difficulty not in ("history", "current") or anchor not in ("min", "ema"):
            raise ValueError(f"difficulty is history or current, anchor min or ema, got {difficulty!r}, {anchor!r}")
        self.difficulty, self.anchor = difficulty, anchor
        self.up, self.down, self.scale, self.floor = up, down, scale, floor
        for name in ("accuracy", "anchors"):
            self.register_buffer(name, torch.full((questions,), math.nan, dtype=torch.float64))

    @torch.no_grad()
    def visit(self, ids: torch.Tensor, correct: torch.Tensor, lengths: torch.Tensor) -> Visit:
        """Rewards and difficulties of a batch, and then what is remembered of it.

        ids int64 (B,) are numbers of questions, correct (B,) outcomes of 0 or 1, lengths (B,) in tokens. Responses
        belong to the question of their id, in whatever order they come; of one that comes twice all are one group.
        Raises ValueError for shapes that differ, ids out of range and outcomes other than 0 and 1, NaN among them.
        """
        self._check(ids, correct, lengths)
        rows, place = ids.unique(return_inverse=True)
        right, tokens = correct.bool(), lengths.double()
        now = torch.zeros(len(rows), dtype=torch.float64, device=ids.device).index_add(0, place, right.double())
        now = now / place.bincount(minlength=len(rows))
        before, anchors = self.accuracy[rows], self.anchors[rows]

        reward = length_reward(tokens, anchors[place], scale=self.scale, floor=self.floor)
        worse = (now < before)[place]
        bonus = torch.where(right & ~worse, reward, 0)

        shortest = torch.full_like(now, torch.inf).scatter_reduce(0, place, tokens.where(right, torch.inf), "amin")
        moved = shortest.minimum(anchors)
        if self.anchor == "ema":
            moved = asymmetric_average(anchors, shortest, up=0.05, down=0.2)
        moved = shortest.where(anchors.isnan(), moved)
        self.anchors[rows] = moved.where(shortest.isfinite(), anchors)

        threshold = self.accuracy.nan_to_num(-1.0).mean()
        unmet = before.isnan() if self.difficulty == "history" else ~(before > 0)
        after = now.where(unmet, asymmetric_average(before, now, up=self.up, down=self.down))
        self.accuracy[rows] = after
        if self.difficulty == "current":
            return Visit(bonus, (now <= threshold)[place])
        # Equal numbers are not below their mean, which rounding may put above them.
        return Visit(bonus, (after < self.accuracy.nanmean() - 1e-12)[place])

    def _check(self, ids: torch.Tensor, correct: torch.Tensor, lengths: torch.Tensor) -> None:
        if not ids.shape == correct.shape == lengths.shape or ids.ndim != 1 or ids.dtype != torch.int64:
            shapes = f"{ids.dtype} {tuple(ids.shape)}, {tuple(correct.shape)}, {tuple(lengths.shape)}"
            raise ValueError(f"ids (int64), correct and lengths must be of one shape (B,), got {shapes}")
        count = len(self.accuracy)
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < count:
            raise ValueError(f"ids must lie in 0..{count - 1}, got {int(ids.min())}..{int(ids.max())}")
        if not bool(((correct == 0) | (correct == 1)).all()):
            raise ValueError("outcomes must be 0 or 1: the length reward is added afterwards")


# The two ways in which entropy comes in.


def entropy_advantages(
    advantages: torch.Tensor, entropy: torch.Tensor, mask: torch.Tensor, hard: torch.Tensor, *, alpha: float = 0.4,
    kappa: float = 2.0, scale: float = 1.0,
) -> torch.Tensor:  # fmt: skip
    """A + scale D min(alpha H, |A| / kappa), (B, T), a constant; A is (B, T) or (B, 1), D bool (B,).

    With kappa > scale no advantage changes its sign, and one of 0 stays. What lies outside the mask is not looked at.
    Raises ValueError for other shapes, alpha < 0, kappa <= 0, scale < 0 and a NaN inside the mask.
    """
    _check_tokens(entropy, mask, hard)
    if advantages.shape not in (mask.shape, (len(mask), 1)):
        raise ValueError(f"advantages must be (B, T) or (B, 1), got {tuple(advantages.shape)} for {tuple(mask.shape)}")
    if alpha < 0 or kappa <= 0 or scale < 0:
        raise ValueError(f"alpha and scale are >= 0, kappa > 0, got {alpha}, {scale}, {kappa}")
    given = widened(advantages.detach()).expand_as(mask)
    added = (alpha * widened(entropy.detach())).minimum(given.abs() / kappa)
    return given + scale * torch.where(mask.bool() & hard.bool()[:, None], added, 0)


def weighted_entropy(
    entropy: torch.Tensor, mask: torch.Tensor, hard: torch.Tensor, *, factor: float = 5.0
) -> torch.Tensor:
    """sum(w H) / sum(w) over the mask, a scalar: tokens of hard questions weigh `factor`, others 1. 0 of none.

    The factor is relative: where all questions are hard, or none, it changes nothing.
    Raises ValueError for other shapes, factor <= 0 and a NaN inside the mask.
    """
    _check_tokens(entropy, mask, hard)
    require(factor > 0, "factor must be positive", factor)
    values = torch.where(mask.bool(), widened(entropy), 0)
    weights = mask.bool() * (1 + (factor - 1) * hard.bool()[:, None].to(values.dtype))
    total = weights.sum()
    return (weights * values).sum() / total.where(total > 0, 1)


def annealed(step: int, steps: int) -> float:
    """(1 + cos(pi t / T)) / 2 at step t of 0..T, from 1 to 0; the official code counts from 1.

    Raises ValueError for other steps.
    """
    if not 0 <= step <= steps or steps < 1:
        raise ValueError(f"steps run from 0 to T >= 1, got {step} of {steps}")
    return (1 + math.cos(math.pi * step / steps)) / 2


def ceeh_ea(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    entropy: torch.Tensor,
    mask: torch.Tensor,
    hard: torch.Tensor,
    *,
    alpha: float = 0.4,
    kappa: float = 2.0,
    scale: float = 1.0,
    low: float = 0.2,
    high: float = 0.28,
    dual: float | None = 3.0,
) -> torch.Tensor:
    """PPO's loss of `entropy_advantages`, a scalar: token-mean over logp, old, entropy and mask (B, T).

    A mask of nothing gives 0. Raises ValueError as `entropy_advantages` and `ppo` do.
    """
    shaped = entropy_advantages(advantages, entropy, mask, hard, alpha=alpha, kappa=kappa, scale=scale)
    return ppo(logp, old, shaped, mask, low=low, high=high, dual=dual)


def ceeh_me(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    entropy: torch.Tensor,
    mask: torch.Tensor,
    hard: torch.Tensor,
    *,
    coefficient: float = 0.001,
    factor: float = 5.0,
    scale: float = 1.0,
    retain: bool = False,
    low: float = 0.2,
    high: float = 0.28,
    dual: float | None = 3.0,
) -> torch.Tensor:
    """PPO's loss less coefficient scale `weighted_entropy`, a scalar; gradients flow through `entropy`.

    With `retain` the scale anneals what hard questions weigh more, and the entropy of all stays: a factor of
    1 + (factor - 1) scale. Raises ValueError as `weighted_entropy` and `ppo` do, and for coefficient or scale < 0.
    """
    if coefficient < 0 or scale < 0:
        raise ValueError(f"coefficient and scale are >= 0, got {coefficient}, {scale}")
    outer, factor = (1.0, 1 + (factor - 1) * scale) if retain else (scale, factor)
    surrogate = ppo(logp, old, advantages, mask, low=low, high=high, dual=dual)
    return surrogate - coefficient * outer * weighted_entropy(entropy, mask, hard, factor=factor)


def _check_tokens(entropy: torch.Tensor, mask: torch.Tensor, hard: torch.Tensor) -> None:
    if entropy.shape != mask.shape or entropy.ndim != 2 or hard.shape != mask.shape[:1]:
        shapes = f"{tuple(entropy.shape)}, {tuple(mask.shape)}, {tuple(hard.shape)}"
        raise ValueError(f"entropy and mask must be of one shape (B, T), hard (B,), got {shapes}")
    if visible(entropy):
        wrong = (entropy.isnan() & mask.bool()).nonzero()[:5].tolist()
        require(not wrong, "entropies must not be NaN", f"NaN at (response, token) {wrong}")


# The paper's metric.


def nag(accuracy: float, length: float, *, base_accuracy: float, base_length: float) -> float:
    """100 (1 - Acc / Acc_b) sqrt(1 - L / L_b), b the base model: what accuracy is lost for length. Lower is better.

    Raises ValueError where the base has no accuracy or no length, and where the responses are longer than its.
    """
    if base_accuracy <= 0 or base_length <= 0 or not 0 <= length <= base_length:
        raise ValueError(
            "the base's accuracy and length must be positive, and the length at most the base's, "
            f"got {base_accuracy}, {base_length}, {length}"
        )
    return 100 * (1 - accuracy / base_accuracy) * math.sqrt(1 - length / base_length)
