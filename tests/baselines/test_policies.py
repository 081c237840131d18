"""Sampling and reading give one distribution; responses end where they should."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.reinforcement.policies import (
    BanditPolicy,
    LanguagePolicy,
    RecurrentPolicy,
    TransformerPolicy,
    draw,
    log_probs,
)

END, VOCABULARY = 3, 5


def policies() -> list[LanguagePolicy]:
    torch.manual_seed(0)
    return [
        RecurrentPolicy(VOCABULARY, end=END, max_tokens=6, embedding=8, width=16).double(),
        TransformerPolicy(VOCABULARY, end=END, max_tokens=6, length=12, width=16, depth=2, heads=2).double(),
    ]


each = pytest.mark.parametrize("policy", policies(), ids=lambda policy: type(policy).__name__)


@each
def test_steps_with_a_state_are_what_is_read(policy: LanguagePolicy) -> None:
    tokens = torch.randint(VOCABULARY, (4, 9), generator=torch.Generator().manual_seed(1))
    logits, state = policy.begin(tokens[:, :4])
    found = [logits]
    for place in range(4, 9):
        logits, state = policy.step(tokens[:, place], state)
        found.append(logits)
    torch.testing.assert_close(torch.stack(found, 1), policy.read(tokens)[:, 3:])
    torch.testing.assert_close(policy.logits(tokens[:, :4], tokens[:, 4:]), policy.read(tokens)[:, 3:-1])


@each
def test_the_future_is_not_seen(policy: LanguagePolicy) -> None:
    tokens = torch.randint(VOCABULARY, (2, 8), generator=torch.Generator().manual_seed(2))
    other = tokens.clone()
    other[:, 5:] = (other[:, 5:] + 1) % VOCABULARY
    torch.testing.assert_close(policy.read(tokens)[:, :5], policy.read(other)[:, :5])


@each
def test_responses_end_with_their_first_end(policy: LanguagePolicy) -> None:
    prompts = torch.zeros(200, 3, dtype=torch.long)
    actions, mask = policy.sample(prompts, torch.Generator().manual_seed(3))
    assert actions.shape == mask.shape and actions.shape[1] <= 6
    for row, kept in zip(actions.tolist(), mask.sum(1).tolist(), strict=True):
        assert END not in row[: kept - 1]
        assert row[kept - 1] == END or kept == 6
        assert set(row[kept:]) <= {END}
    assert torch.equal(mask, mask.sum(1)[:, None] > torch.arange(mask.shape[1]))
    again, _ = policy.sample(prompts, torch.Generator().manual_seed(3))
    assert torch.equal(actions, again)


@each
def test_samples_come_as_often_as_they_should(policy: LanguagePolicy) -> None:
    """The first two tokens of 20,000 responses against the probabilities that the policy reads off."""
    count = 20_000
    actions, _ = policy.sample(torch.zeros(count, 3, dtype=torch.long), torch.Generator().manual_seed(4))
    pairs = torch.cartesian_prod(torch.arange(VOCABULARY), torch.arange(VOCABULARY))
    logp = log_probs(policy, torch.zeros(len(pairs), 3, dtype=torch.long), pairs).detach()
    expected = torch.where(pairs[:, 0] == END, torch.where(pairs[:, 1] == END, logp[:, 0], -torch.inf), logp.sum(1))
    found = torch.bincount(actions[:, 0] * VOCABULARY + actions[:, 1], minlength=len(pairs)) / count
    p = expected.exp()
    assert float(((found - p) / (p * (1 - p) / count).sqrt().clamp(min=1e-9)).abs().where(p > 0, 0).max()) < 5


def test_bandit() -> None:
    network = nn.Linear(3, 4)
    policy, contexts = BanditPolicy(network), torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    actions, mask = policy.sample(contexts, torch.Generator().manual_seed(1))
    assert actions.shape == mask.shape == (6, 1) and mask.all()
    torch.testing.assert_close(policy.logits(contexts, actions)[:, 0], network(contexts))


def test_temperature() -> None:
    logits = torch.tensor([[0.0, 1.0, 0.5]]).expand(50, 3)
    assert (draw(logits, torch.Generator(), 0.0) == 1).all()
    cold = draw(logits, torch.Generator().manual_seed(0), 0.01)
    assert (cold == 1).all()
    with pytest.raises(ValueError, match="temperature"):
        draw(logits, torch.Generator(), -1.0)
