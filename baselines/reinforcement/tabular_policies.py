r"""Softmax policies in tables, where everything is known in closed form: what policy gradients are checked against.

A policy is its logits z, (..., V): leading dimensions are independent states. p = softmax(z), l = log p; Q (..., V) are
the values of the actions, J = sum_a p_a Q_a, A = Q - J; Cov_p(x, y) = sum p x y - (sum p x)(sum p y); H = -sum p l in
nats. For a finite step of the logits along d, the changes below are those per unit of d to first order.

    dJ/dz = p A           F = diag(p) - p p^T          F^+ (p A) = A - mean(A)
    dH/dz = -p (l + H)    dH along d = -Cov_p(l, d)
    d2H/dz2 = p_a p_b (l_a + l_b + 2H + 1) - [a = b] p_a (l_a + H + 1)
    dKL(p || r)/dz = p (log(p / r) - KL)

Actions with a logit of -inf cannot be taken, and 0 log 0 = 0. Give float64: nothing here is meant for training.
`SequencePolicy` is the same for whole sequences of actions.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch

from baselines.losses import expectation, kl_divergence


def log_policy(logits: torch.Tensor) -> torch.Tensor:
    """l, (..., V)."""
    return logits.log_softmax(-1)


def _possible(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """p and l, with 0 for the l of what cannot be taken: it only occurs times p."""
    logp = log_policy(logits)
    return logp.exp(), logp.where(logp > -torch.inf, 0)


def covariance(logits: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cov_p(x, y), (...), of functions of the action (..., V)."""
    p = logits.softmax(-1)
    x, y = (values.where(p > 0, 0) for values in (x, y))
    centred = x - (p * x).sum(-1, keepdim=True)
    return (p * centred * y).sum(-1)


def expected_value(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """J, (...)."""
    return (logits.softmax(-1) * values).sum(-1)


def advantages(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """A, (..., V)."""
    return values - expected_value(logits, values)[..., None]


def policy_gradient(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """dJ/dz, (..., V)."""
    return logits.softmax(-1) * advantages(logits, values)


def fisher(logits: torch.Tensor) -> torch.Tensor:
    """F, (..., V, V): the covariance of the score."""
    p = logits.softmax(-1)
    return p.diag_embed() - p[..., :, None] * p[..., None, :]


def natural_gradient(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """F^+ dJ/dz, (..., V): the advantages up to the constant that a softmax does not see."""
    a = advantages(logits, values)
    return a - a.mean(-1, keepdim=True)


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """H, (...)."""
    logp = log_policy(logits)
    return -expectation(logp.exp(), logp)


def entropy_gradient(logits: torch.Tensor) -> torch.Tensor:
    """dH/dz, (..., V)."""
    p, logp = _possible(logits)
    return -p * (logp + entropy(logits)[..., None])


def entropy_derivative(logits: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """dH along d, (...)."""
    return -covariance(logits, log_policy(logits), direction)


def entropy_hessian(logits: torch.Tensor) -> torch.Tensor:
    """d2H/dz2, (..., V, V)."""
    (p, logp), h = _possible(logits), entropy(logits)[..., None]
    pairs = logp[..., :, None] + logp[..., None, :] + (2 * h + 1)[..., None]
    return p[..., :, None] * p[..., None, :] * pairs - (p * (logp + h + 1)).diag_embed()


def kl(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """KL(p || r), (...), of the policies with these logits."""
    return kl_divergence(log_policy(logits), log_policy(reference))


def kl_gradient(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """dKL(p || r)/dz, (..., V)."""
    p = logits.softmax(-1)
    ratio = (log_policy(logits) - log_policy(reference)).where(p > 0, 0)
    return p * (ratio - kl(logits, reference)[..., None])


def sampled_step(logits: torch.Tensor, actions: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The gradient of weight * log p_a, (..., V), for one sampled action a (...) of each state: weight (e_a - p)."""
    p = logits.softmax(-1)
    return weights[..., None] * (torch.nn.functional.one_hot(actions, p.shape[-1]) - p)


@dataclass(frozen=True)
class SequencePolicy:
    """An autoregressive policy in tables: `tables[t]`, (V^t, V), has the logits of step t after each prefix.

    Prefixes are numbered as digits in base V, so that row i of `tables[t]` follows sequence i of length t.
    """

    tables: tuple[torch.Tensor, ...]

    def __post_init__(self) -> None:
        size = self.tables[0].shape[-1] if self.tables else 0
        shapes = [tuple(table.shape) for table in self.tables]
        if not size or shapes != [(size**t, size) for t in range(len(shapes))]:
            raise ValueError(f"tables must have the shapes (V^t, V), t = 0, 1, ..., got {shapes}")

    @classmethod
    def random(cls, size: int, length: int, generator: torch.Generator, scale: float = 1.0) -> SequencePolicy:
        """Normal logits of this scale, float64."""
        shapes = [(size**t, size) for t in range(length)]
        return cls(tuple(scale * torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes))

    @property
    def sequences(self) -> torch.Tensor:
        """All V^T sequences, int64 (V^T, T)."""
        size = self.tables[0].shape[-1]
        return torch.tensor(list(itertools.product(range(size), repeat=len(self.tables))))

    def log_probs(self) -> torch.Tensor:
        """log p(a_t | a_<t) at each step of each sequence, (V^T, T); autograd passes."""
        size, length = self.tables[0].shape[-1], len(self.tables)
        steps = [
            log_policy(table).flatten().repeat_interleave(size ** (length - t - 1))
            for t, table in enumerate(self.tables)
        ]
        return torch.stack(steps, 1)
