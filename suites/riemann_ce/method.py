"""Search by cross-entropy, rare events, and top-p beams (Li and Li, arXiv:2409.19790).

Cross-entropy method: draw X_1..X_M from f(.; v), keep the share rho of best score (the elite), and move v to the
density that is nearest to the elite,

    v <- argmax_v  sum_i w_i log f(X_i; v)      (w_i = 1 for the elite, else 0),

which is maximum likelihood: for a normal density the elite's mean and standard deviation. `minimise` seeks a minimum
so, such as a zero of |zeta(s)|; the paper gives no settings, and those here are the project's.

Rare events: P[S(X) >= gamma] under a density u. Levels gamma_t rise to gamma, each the (1 - rho) quantile of the
scores under the last v; the elite counts with the weights w = u(x) / f(x; v). The estimate is the mean of
w 1{S >= gamma} under the last v.

Decoding: keep k chains. Each goes on with the tokens of its nucleus, the fewest whose probability is at least p; of all
that they give, the k chains of greatest probability prod_t P(token_t | chain) stay, or k drawn by that probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar

import torch

Score = Callable[[torch.Tensor], torch.Tensor]
NextLogProbs = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Family(Protocol):
    """A density of a parametric family. Points are float64 (N, D)."""

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor: ...

    def log_prob(self, x: torch.Tensor) -> torch.Tensor: ...

    def fit(self, x: torch.Tensor, weights: torch.Tensor) -> Self:
        """The member of greatest weighted likelihood; weights (N,), not negative."""
        ...


@dataclass(frozen=True)
class Exponential:
    """D independent exponential variables with the given means, (D,)."""

    mean: torch.Tensor

    def __post_init__(self) -> None:
        _check(bool((self.mean > 0).all()) and self.mean.ndim == 1, "means are positive, of shape (D,)")

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        shape = count, len(self.mean)
        return torch.empty(shape, dtype=torch.float64).exponential_(generator=generator) * self.mean

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where((x >= 0).all(1), -(x / self.mean + self.mean.log()).sum(1), -math.inf)

    def fit(self, x: torch.Tensor, weights: torch.Tensor) -> Exponential:
        return Exponential(weights @ x / weights.sum())


@dataclass(frozen=True)
class BoxNormal:
    """D independent normal variables that stay in a box: `mean`, `std`, `low`, `high`, all (D,).

    std may be infinite: uniform. bounds: "truncated" draws from the normal density given the box; "clipped" moves what
    falls outside onto the edge, which puts point masses there and leaves no density. `fit` takes the weighted mean and
    the standard deviation with divisor n, the maximum of likelihood of a normal density without its box.
    """

    mean: torch.Tensor
    std: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    bounds: str = "truncated"

    def __post_init__(self) -> None:
        _check(bool((self.low < self.high).all()) and self.low.ndim == 1, "a box has low < high, both (D,)")
        _check(bool((self.std > 0).all()), "standard deviations are positive")
        _check(self.bounds in ("truncated", "clipped"), "bounds are truncated or clipped")

    @classmethod
    def uniform(cls, low: Sequence[float], high: Sequence[float], bounds: str = "truncated") -> BoxNormal:
        a, b = torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
        return cls((a + b) / 2, torch.full_like(a, math.inf), a, b, bounds)

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        drawn = torch.rand(count, len(self.low), generator=generator, dtype=torch.float64)
        even = self.low + (self.high - self.low) * drawn
        if self.bounds == "truncated":
            first, last = self._masses()
            drawn = first + (last - first) * drawn
        bent = self.mean + self.std * torch.special.ndtri(drawn)
        return torch.where(self.std.isinf(), even, bent).clamp(self.low, self.high)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        _check(self.bounds == "truncated", "clipping leaves no density: take truncated bounds")
        first, last = self._masses()
        normal = -(((x - self.mean) / self.std) ** 2) / 2 - (self.std * math.sqrt(2 * math.pi)).log()
        each = torch.where(self.std.isinf(), -(self.high - self.low).log(), normal - (last - first).log())
        inside = ((x >= self.low) & (x <= self.high)).all(1)
        return torch.where(inside, each.sum(1), -math.inf)

    def fit(self, x: torch.Tensor, weights: torch.Tensor) -> BoxNormal:
        share = weights / weights.sum()
        mean = share @ x
        std = (share @ (x - mean) ** 2).sqrt().clamp_min(1e-12)  # a single point has none
        return BoxNormal(mean, std, self.low, self.high, self.bounds)

    def _masses(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the normal density below either edge."""
        first, last = ((edge - self.mean) / self.std for edge in (self.low, self.high))
        return torch.special.ndtr(first), torch.special.ndtr(last)


@dataclass(frozen=True)
class Found:
    """Where a search ended."""

    point: torch.Tensor  # the best point that was drawn, float64 (D,)
    value: float
    evaluations: int
    converged: bool
    """Whether the largest standard deviation came below the tolerance."""
    best: list[float] = field(default_factory=list)  # the least value of each round
    std: list[list[float]] = field(default_factory=list)  # the standard deviations after each round

    @property
    def rounds(self) -> int:
        return len(self.best)


def minimise(
    function: Score,
    start: BoxNormal,
    *,
    generator: torch.Generator,
    samples: int = 500,
    elite_share: float = 0.05,
    rounds: int = 40,
    tolerance: float = 1e-10,
    smoothing: float = 1.0,
    dynamic: tuple[float, float] | None = None,
    recentre: Sequence[float] | None = None,
    keep_best: bool = False,
) -> Found:
    """The least value of `function` (float64 (N, D) -> (N,)) that the cross-entropy method finds from `start`.

    It stops when all standard deviations are below the tolerance, or after `rounds`. smoothing: the share alpha of the
    new parameters, v <- alpha v_new + (1 - alpha) v_old, from the second round on. dynamic: (beta, q), the share of the
    new standard deviation is then beta (1 - (1 - 1/t)^q) in round t. recentre: after the first round the density moves
    to the best point with these standard deviations. keep_best: the best point so far is among the next samples. NaN
    counts as +infinity. Raises ValueError for settings out of range, and where no value is below +infinity.
    """
    elite = math.ceil(elite_share * samples)
    _check(0 < elite_share <= 1 and samples >= 2 and rounds >= 1, "elite_share in (0, 1], samples >= 2, rounds >= 1")
    _check(0 < smoothing <= 1, "smoothing lies in (0, 1]")
    _check(dynamic is None or (0 < dynamic[0] <= 1 and dynamic[1] > 0), "dynamic is (beta in (0, 1], q > 0)")
    _check(recentre is None or len(recentre) == len(start.low), "recentre has one standard deviation a dimension")
    law, point, value, converged = start, start.mean, math.inf, False
    best: list[float] = []
    spread: list[list[float]] = []
    for round_ in range(1, rounds + 1):
        x = law.sample(samples, generator)
        if keep_best and best:
            x[0] = point
        values = function(x).nan_to_num(nan=math.inf, neginf=-math.inf, posinf=math.inf)
        order = values.argsort()[:elite]
        best.append(float(values[order[0]]))
        if best[-1] < value:
            point, value = x[order[0]].clone(), best[-1]
        _check(value < math.inf, "no value is below infinity: widen the box or take more samples")
        new = law.fit(x[order], (values[order] < math.inf).double())
        if round_ == 1:  # there is nothing to smooth a first fit with
            law = _recentred(new, point, recentre)
        else:
            share = smoothing if dynamic is None else dynamic[0] * (1 - (1 - 1 / round_) ** dynamic[1])
            mean = smoothing * new.mean + (1 - smoothing) * law.mean
            law = BoxNormal(mean, share * new.std + (1 - share) * law.std, law.low, law.high, law.bounds)
        spread.append(law.std.tolist())
        if converged := bool((law.std < tolerance).all()):
            break
    return Found(point, value, samples * len(best), converged, best, spread)


def _recentred(law: BoxNormal, point: torch.Tensor, std: Sequence[float] | None) -> BoxNormal:
    if std is None:
        return law
    return BoxNormal(point, torch.tensor(std, dtype=torch.float64), law.low, law.high, law.bounds)


F = TypeVar("F", bound=Family)


@dataclass(frozen=True)
class RareEvent(Generic[F]):
    probability: float
    standard_error: float
    law: F
    """The density that the last samples were drawn from."""
    levels: list[float]


def rare_event(
    score: Score,
    gamma: float,
    nominal: Family,
    start: F,
    *,
    generator: torch.Generator,
    samples: int = 10_000,
    final: int = 200_000,
    elite_share: float = 0.1,
    levels: int = 50,
) -> RareEvent[F]:
    """P[score(X) >= gamma] for X of the density `nominal`, by importance sampling from the family of `start`.

    samples: drawn at each level; final: for the estimate. Raises ValueError for settings out of range, and where gamma
    is not reached in so many levels. The estimate is unbiased for a fitted density that is positive on the event; it
    misses what such a density has hardly any mass on, and its standard error does not show that.
    """
    _check(0 < elite_share < 1 and min(samples, final) >= 2 and levels >= 1, "elite_share in (0, 1), samples >= 2")
    law, elite = start, math.ceil(elite_share * samples)
    reached: list[float] = []
    while not reached or reached[-1] < gamma:
        _check(len(reached) < levels, f"gamma was not reached in {levels} levels: take more samples or another family")
        x = law.sample(samples, generator)
        values = score(x)
        level = min(gamma, float(values.sort(descending=True).values[elite - 1]))
        reached.append(level)
        weights = importance(x, nominal, law) * (values >= level)
        _check(float(weights.sum()) > 0, "no sample above a level has any weight: take more samples")
        law = law.fit(x, weights)
    x = law.sample(final, generator)
    parts = importance(x, nominal, law) * (score(x) >= gamma)
    return RareEvent(float(parts.mean()), float(parts.std()) / math.sqrt(final), law, reached)


def importance(x: torch.Tensor, nominal: Family, law: Family) -> torch.Tensor:
    """nominal(x) / law(x) of each point, (N,)."""
    return (nominal.log_prob(x) - law.log_prob(x)).exp()


@dataclass(frozen=True)
class Beams:
    """Chains of each of B prompts, the likeliest first: `tokens` int64 (B, k, steps), `log_probs` of a chain (B, k).

    Where there are fewer than k chains the last ones have a log-probability of -inf and no meaning.
    """

    tokens: torch.Tensor
    log_probs: torch.Tensor


def top_p_beam(
    next_log_probs: NextLogProbs,
    prompts: int,
    steps: int,
    *,
    width: int = 4,
    top_p: float = 0.9,
    end: int | None = None,
    generator: torch.Generator | None = None,
) -> Beams:
    """`steps` tokens for each prompt by beams of `width` chains on nuclei of mass `top_p`.

    next_log_probs(tokens, parents): log-probabilities (B, k, vocabulary) of the next token of each chain, given the
    tokens so far (B, k, t) and which chain of the call before each goes on from (B, k); at first k = 1 and t = 0. end:
    a token after which a chain does not change any more. generator: chains are drawn without replacement in proportion
    to their probability; without one the likeliest stay. Log-probabilities are added, under the model as it is: the
    nucleus decides what is looked at, not what it counts; nothing is divided by the length. Width 1 without a generator
    is greedy decoding, width 1 with one draws from the nucleus, top_p = 1 without one is beam search. Raises ValueError
    for numbers out of range.
    """
    _check(0 < top_p <= 1 and min(width, steps, prompts) >= 1, "top_p in (0, 1]; width, steps and prompts >= 1")
    tokens = torch.zeros(prompts, 1, 0, dtype=torch.int64)
    totals, parents = torch.zeros(prompts, 1), torch.zeros(prompts, 1, dtype=torch.int64)
    for _ in range(steps):
        logs = next_log_probs(tokens, parents)
        logs = logs.to(torch.promote_types(logs.dtype, torch.float32))
        tokens, totals = tokens.to(logs.device), totals.to(logs)
        # Of one chain no more than `width` tokens can stay, unless they are drawn.
        count = logs.shape[2] if generator is not None else min(width, logs.shape[2])
        logs, following = logs.topk(count, 2)
        before = logs.exp().cumsum(2) - logs.exp()
        logs = torch.where((before < top_p) | (top_p == 1), logs, -math.inf)
        if end is not None and tokens.shape[2]:
            ended = (tokens[:, :, -1] == end)[:, :, None]
            first = torch.arange(count, device=logs.device) == 0
            logs = torch.where(ended, torch.where(first, 0.0, -math.inf), logs)
            following = following.masked_fill(ended, end)
        candidates = (totals[:, :, None] + logs).flatten(1)
        keys = candidates
        if generator is not None:  # the k largest of log p + Gumbel noise are k draws without replacement
            keys = candidates - torch.empty_like(candidates).exponential_(generator=generator).log()
        chosen = keys.topk(min(width, keys.shape[1]), 1).indices
        totals = candidates.gather(1, chosen)
        parents = chosen // count
        so_far = tokens.gather(1, parents[:, :, None].expand(-1, -1, tokens.shape[2]))
        tokens = torch.cat([so_far, following.flatten(1).gather(1, chosen)[:, :, None]], 2)
    totals, order = totals.sort(1, descending=True)
    return Beams(tokens.gather(1, order[:, :, None].expand_as(tokens)), totals)


def _check(fine: bool, needed: str) -> None:
    if not fine:
        raise ValueError(needed)
