"""Closed forms against autograd, a pseudoinverse, and sums over all sequences."""

from __future__ import annotations

import pytest
import torch

from baselines.reinforcement import tabular_policies as tabular

STATES, ACTIONS = 5, 7


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = 2 * torch.randn(3, STATES, ACTIONS, generator=generator, dtype=torch.float64)
    return drawn[0].requires_grad_(), drawn[1], drawn[2]


def gradient(value: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(value.sum(), logits)[0]


def test_policy_gradient(case: tuple) -> None:
    z, q, _ = case
    torch.testing.assert_close(tabular.policy_gradient(z, q), gradient(tabular.expected_value(z, q), z))


def test_natural_gradient_is_the_pseudoinverse(case: tuple) -> None:
    z, q, _ = case
    inverse = torch.linalg.pinv(tabular.fisher(z), hermitian=True)
    expected = (inverse @ tabular.policy_gradient(z, q)[..., None]).squeeze(-1)
    torch.testing.assert_close(tabular.natural_gradient(z, q), expected, rtol=1e-9, atol=1e-9)


def test_fisher_is_the_covariance_of_the_score(case: tuple) -> None:
    z, _, _ = case
    p = z.softmax(-1)
    scores = torch.eye(ACTIONS, dtype=p.dtype) - p[:, None, :]  # (states, action, logit)
    torch.testing.assert_close(tabular.fisher(z), torch.einsum("sa,sai,saj->sij", p, scores, scores))


def test_entropy_and_its_derivatives(case: tuple) -> None:
    z, d, _ = case
    torch.testing.assert_close(tabular.entropy(z), torch.distributions.Categorical(logits=z).entropy())
    torch.testing.assert_close(tabular.entropy_gradient(z), gradient(tabular.entropy(z), z))
    torch.testing.assert_close(tabular.entropy_derivative(z, d), (tabular.entropy_gradient(z) * d).sum(-1))
    hessians = [torch.autograd.functional.hessian(tabular.entropy, row) for row in z.detach()]
    torch.testing.assert_close(tabular.entropy_hessian(z), torch.stack(hessians))


def test_an_action_that_cannot_be_taken_is_as_if_it_were_not_there(case: tuple) -> None:
    z, d, r = (one.detach()[:, 1:] for one in case)
    wider = [
        torch.cat([torch.full((STATES, 1), first), one], 1) for first, one in ((-torch.inf, z), (5.0, d), (2.0, r))
    ]
    same = torch.testing.assert_close
    same(tabular.entropy(wider[0]), tabular.entropy(z))
    same(tabular.entropy_gradient(wider[0])[:, 1:], tabular.entropy_gradient(z))
    same(tabular.entropy_derivative(wider[0], wider[1]), tabular.entropy_derivative(z, d))
    same(tabular.entropy_hessian(wider[0])[:, 1:, 1:], tabular.entropy_hessian(z))
    for reference, narrow in ((wider[0], z), (wider[0].flip(0), z.flip(0))):
        same(tabular.kl(wider[0], reference), tabular.kl(z, narrow))
        same(tabular.kl_gradient(wider[0], reference)[:, 1:], tabular.kl_gradient(z, narrow))
    for found in (tabular.entropy_gradient(wider[0]), tabular.kl_gradient(wider[0], wider[2])):
        assert not found[:, 0].any()
    free = wider[0].clone().requires_grad_()
    same(gradient(tabular.entropy(free), free), tabular.entropy_gradient(wider[0]))


def test_kl_and_its_gradient(case: tuple) -> None:
    z, r, _ = case
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=z), torch.distributions.Categorical(logits=r)
    )
    torch.testing.assert_close(tabular.kl(z, r), expected)
    torch.testing.assert_close(tabular.kl_gradient(z, r), gradient(tabular.kl(z, r), z))


def test_covariance_by_hand() -> None:
    z = torch.tensor([0.25, 0.75], dtype=torch.float64).log()
    x, y = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.tensor([0.0, 2.0], dtype=torch.float64)
    assert float(tabular.covariance(z, x, y)) == pytest.approx(2 * 0.25 * 0.75)


def test_sampled_steps_average_to_the_policy_gradient(case: tuple) -> None:
    z, q, _ = case
    a = tabular.advantages(z, q)
    steps = [tabular.sampled_step(z, torch.full((STATES,), k), a[:, k]) for k in range(ACTIONS)]
    average = (z.softmax(-1).T[..., None] * torch.stack(steps)).sum(0)
    torch.testing.assert_close(average, tabular.policy_gradient(z, q))


def test_sequences_sum_to_one_and_follow_their_tables() -> None:
    policy = tabular.SequencePolicy.random(3, 4, torch.Generator().manual_seed(1))
    logp, sequences = policy.log_probs(), policy.sequences
    assert logp.shape == sequences.shape == (81, 4)
    assert float(logp.sum(1).exp().sum()) == pytest.approx(1)
    row = 47  # 1202 in base 3
    assert sequences[row].tolist() == [1, 2, 0, 2]
    after = policy.tables[3].log_softmax(-1)[1 * 9 + 2 * 3 + 0, 2]
    assert float(logp[row, 3]) == pytest.approx(float(after))


def test_refuses_tables_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="shapes"):
        tabular.SequencePolicy((torch.zeros(1, 3), torch.zeros(2, 3)))
    with pytest.raises(ValueError, match="shapes"):
        tabular.SequencePolicy(())
