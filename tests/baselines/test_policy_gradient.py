"""The losses by hand, by loops over tokens, and against the closed forms of tabular policies."""

from __future__ import annotations

import math

import pytest
import torch

from baselines.reinforcement import policy_gradient as pg
from baselines.reinforcement import tabular_policies as tabular

B, T = 6, 5
F64 = torch.float64


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    old = -2 * torch.rand(B, T, generator=generator, dtype=F64)
    logp = old + 0.4 * torch.randn(B, T, generator=generator, dtype=F64)
    advantages = torch.randn(B, 1, generator=generator, dtype=F64).expand(B, T)
    lengths = torch.tensor([5, 1, 3, 2, 5, 4])
    return logp, old, advantages, torch.arange(T) < lengths[:, None]


def by_loops(terms: torch.Tensor, mask: torch.Tensor, how: str) -> float:
    per_response = [[float(terms[b, t]) for t in range(T) if mask[b, t]] for b in range(B)]
    if how == "token_mean":
        return sum(map(sum, per_response)) / sum(map(len, per_response))
    if how == "sequence_mean":
        return sum(sum(one) / len(one) for one in per_response) / B
    return sum(map(sum, per_response)) / B


def ppo_by_loops(low: float, high: float, dual: float | None, how: str) -> float:
    logp, old, advantages, mask = batch()
    terms = torch.zeros(B, T, dtype=F64)
    for b in range(B):
        for t in range(T):
            rho, a = math.exp(logp[b, t] - old[b, t]), float(advantages[b, t])
            term = -min(a * rho, a * min(max(rho, 1 - low), 1 + high))
            terms[b, t] = min(term, -a * dual) if dual is not None and a < 0 else term
    return by_loops(terms, mask, how)


@pytest.mark.parametrize("how", ["token_mean", "sequence_mean", "sequence_sum"])
@pytest.mark.parametrize(("low", "high", "dual"), [(0.2, 0.2, None), (0.2, 0.28, None), (0.1, 0.3, 1.3)])
def test_ppo_is_the_loop(low: float, high: float, dual: float | None, how: str) -> None:
    loss = pg.ppo(*batch(), low=low, high=high, dual=dual, aggregation=how)  # type: ignore[arg-type]
    assert float(loss) == pytest.approx(ppo_by_loops(low, high, dual, how), abs=1e-12)


@pytest.mark.parametrize("how", ["token_mean", "sequence_mean", "sequence_sum"])
def test_reinforce_is_the_loop(how: str) -> None:
    logp, old, advantages, mask = batch()
    loss = pg.reinforce(logp, old, advantages, mask, aggregation=how)  # type: ignore[arg-type]
    assert float(loss) == pytest.approx(by_loops(-advantages * logp, mask, how), abs=1e-12)


def test_constant_length_divides_the_sum() -> None:
    _, _, advantages, mask = batch()
    whole = pg.aggregate(advantages, mask, "sequence_sum")
    assert float(pg.aggregate(advantages, mask, "sequence_sum", length=8)) == pytest.approx(float(whole) / 8)


def test_padding_is_never_looked_at() -> None:
    logp, old, advantages, mask = batch()
    spoilt = [torch.where(mask, one, math.nan).requires_grad_() for one in (logp, old)]
    for loss in (pg.ppo, pg.reinforce):
        clean, dirty = loss(logp, old, advantages, mask), loss(*spoilt, advantages, mask)
        assert torch.equal(clean, dirty)
        assert torch.autograd.grad(dirty, spoilt[0])[0].isfinite().all()


def test_clipped_tokens_have_no_gradient_and_no_others() -> None:
    logp, old, advantages, mask = batch()
    logp.requires_grad_()
    gradient = torch.autograd.grad(pg.ppo(logp, old, advantages, mask, low=0.1, high=0.2), logp)[0]
    clipped = pg.clipped(logp, old, advantages, mask, low=0.1, high=0.2)
    assert clipped.any()
    assert torch.equal(gradient == 0, clipped | ~mask)


@pytest.mark.parametrize("loss", [pg.ppo, pg.reinforce])
def test_on_policy_gradient_is_the_policy_gradient(loss) -> None:
    """All actions of each state, weighted by their probability through the advantages: the exact expectation."""
    generator = torch.Generator().manual_seed(3)
    z, q = torch.randn(2, 4, 6, generator=generator, dtype=F64)
    z.requires_grad_()
    logp = z.log_softmax(-1)
    weighted = logp.detach().exp() * tabular.advantages(z, q).detach()
    value = loss(logp, logp.detach(), weighted, torch.ones(4, 6), aggregation="sequence_sum")
    torch.testing.assert_close(torch.autograd.grad(value, z)[0], -tabular.policy_gradient(z, q).detach() / 4)


def test_group_advantages_by_hand() -> None:
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1], dtype=F64)
    s = math.sqrt(1 / 3)
    expected = [(2 / 3) / (s + 1e-6), (-1 / 3) / (s + 1e-6), (-1 / 3) / (s + 1e-6), *[0.0] * 6]
    assert pg.group_advantages(rewards, 3).squeeze(1).tolist() == pytest.approx(expected)
    plain = pg.group_advantages(rewards, 3, std=False).squeeze(1).tolist()
    assert plain == pytest.approx([2 / 3, -1 / 3, -1 / 3, *[0.0] * 6])
    assert pg.informative(rewards, 3).tolist() == [True, False, False]
    assert pg.group_advantages(rewards[:2], 1).squeeze(1).tolist() == [0.0, 0.0]


def test_equal_rewards_give_exact_zeros() -> None:
    rewards = torch.full((7,), 0.1)
    assert not pg.group_advantages(rewards, 7).any()


def test_kl_estimators_in_expectation() -> None:
    """Over all actions: k1 and k3 have KL as their mean; k2 alone has its gradient."""
    generator = torch.Generator().manual_seed(5)
    z, r = torch.randn(2, 3, 6, generator=generator, dtype=F64)
    z.requires_grad_()
    logp, reference = z.log_softmax(-1), r.log_softmax(-1)
    p, mask = logp.detach().exp(), torch.ones(3, 6)
    for kind in ("k1", "k3"):
        mean = (p * pg.kl_terms(logp, reference, mask, kind)).sum(-1)  # type: ignore[arg-type]
        torch.testing.assert_close(mean, tabular.kl(z, r))
    expected = {
        "k1": torch.zeros_like(z),
        "k2": tabular.kl_gradient(z, r),
        "k3": z.softmax(-1) - r.softmax(-1),  # the gradient of KL(reference || policy)
    }
    for kind, wanted in expected.items():
        mean = (p * pg.kl_terms(logp, reference, mask, kind)).sum()  # type: ignore[arg-type]
        gradient = torch.autograd.grad(mean, z, retain_graph=True)[0]
        torch.testing.assert_close(gradient, wanted.detach(), atol=1e-12, rtol=1e-9)


def test_kl_penalty_counts_the_mask() -> None:
    logp, reference, _, mask = batch()
    penalty = pg.kl_penalty(logp, torch.where(mask, reference, math.nan), mask, "k2")
    assert float(penalty) == pytest.approx(float((logp - reference)[mask].square().mean() / 2))


def test_entropy_and_log_probs() -> None:
    logits = torch.tensor([[[0.0, 0.0, -math.inf], [1.0, 2.0, 3.0]]])
    entropy = pg.token_entropy(logits)
    assert float(entropy[0, 0]) == pytest.approx(math.log(2))
    assert float(entropy[0, 1]) == pytest.approx(float(tabular.entropy(logits[0, 1])))
    actions = torch.tensor([[1, 2]])
    expected = [math.log(0.5), float(logits[0, 1].log_softmax(-1)[2])]
    assert pg.token_log_probs(logits, actions)[0].tolist() == pytest.approx(expected)


def test_refusals() -> None:
    logp, old, advantages, mask = batch()
    with pytest.raises(ValueError, match="one shape"):
        pg.ppo(logp, old[:, 1:], advantages, mask)
    with pytest.raises(ValueError, match="one shape"):
        pg.aggregate(logp, mask[:3])
    with pytest.raises(ValueError, match="token_mean"):
        pg.aggregate(logp, mask, "mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="length"):
        pg.aggregate(logp, mask, length=3.0)
    with pytest.raises(ValueError, match="clip ranges"):
        pg.ppo(logp, old, advantages, mask, low=-0.1)
    with pytest.raises(ValueError, match="dual"):
        pg.ppo(logp, old, advantages, mask, dual=1.0)
    with pytest.raises(ValueError, match="groups of 4"):
        pg.group_advantages(torch.zeros(6), 4)
    with pytest.raises(ValueError, match="k1, k2 or k3"):
        pg.kl_terms(logp, old, mask, "k4")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("gap", [-90.0, 90.0])
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
def test_no_log_ratio_makes_a_nan(dtype: torch.dtype, gap: float, advantage: float) -> None:
    logp = torch.full((1, 2), -0.5, dtype=dtype, requires_grad=True)
    old, mask = (logp.detach() - gap), torch.tensor([[1, 0]])
    given = torch.tensor([[advantage]], dtype=dtype)
    held = pg.clipped(logp, old, given, mask)
    assert held.tolist() == [[advantage * gap > 0, False]]
    for dual in (None, 3.0):
        loss = pg.ppo(logp, old, given, mask, dual=dual)
        gradient = torch.autograd.grad(loss, logp)[0]
        assert loss.dtype == torch.float32
        assert not loss.isnan()
        assert not gradient.isnan().any()
        assert dual is None or loss.isfinite()
        if held.any() or advantage == 0:
            assert not gradient.any()
            assert advantage or loss == 0
    assert pg.reinforce(logp, old, given, mask).isfinite()
    for kind in ("k1", "k2", "k3"):
        penalty = pg.kl_penalty(logp, old, mask, kind)
        assert not penalty.isnan()
        assert not torch.autograd.grad(penalty, logp)[0].isnan().any()


def test_an_action_that_cannot_be_taken_teaches_nothing_without_advantage() -> None:
    logp = torch.full((1, 1), -math.inf, requires_grad=True)
    for loss in (pg.ppo, pg.reinforce):
        value = loss(logp, torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1))
        assert value == 0
        assert torch.autograd.grad(value, logp)[0] == 0


@pytest.mark.parametrize("how", ["token_mean", "sequence_mean", "sequence_sum"])
def test_a_mask_of_nothing_gives_zero(how: str) -> None:
    logp, old, advantages, mask = batch()
    logp.requires_grad_()
    loss = pg.ppo(logp, old, advantages, torch.zeros_like(mask), aggregation=how)  # type: ignore[arg-type]
    assert loss == 0
    assert not torch.autograd.grad(loss, logp)[0].any()


@pytest.mark.parametrize("shape", [(B,), (B, 1, 1), (1, T), (1, 1), (T, 1), (B, T - 1), ()])
def test_advantages_that_would_broadcast_by_accident_are_refused(shape: tuple[int, ...]) -> None:
    logp, old, _, mask = batch()
    for function in (pg.ppo, pg.ppo_terms, pg.reinforce, pg.clipped):
        with pytest.raises(ValueError, match=r"advantages must be .*\(6, 5\)"):
            function(logp, old, torch.ones(shape), mask)


def test_log_probabilities_that_would_broadcast_by_accident_are_refused() -> None:
    logp, old, advantages, mask = batch()
    for function in (pg.ppo, pg.reinforce, pg.clipped):
        with pytest.raises(ValueError, match="one shape"):
            function(logp, old[:1], advantages, mask)
    for function in (pg.kl_terms, pg.kl_penalty, pg.ratio):
        with pytest.raises(ValueError, match="one shape"):
            function(logp, old[:, :1], mask)
    with pytest.raises(ValueError, match="for actions"):
        pg.token_log_probs(torch.zeros(2, 3, 4), torch.zeros(2, 2, dtype=torch.int64))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("std", [True, False])
def test_rewards_that_are_no_numbers_are_named(wrong: float, std: bool) -> None:
    rewards = torch.tensor([1.0, 0.0, wrong, 0.0])
    with pytest.raises(ValueError, match=r"responses \[2\]"):
        pg.group_advantages(rewards, 2, std=std)
    with pytest.raises(ValueError, match=r"responses \[2\]"):
        pg.informative(rewards, 2)
