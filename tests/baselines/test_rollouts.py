"""The loop: what it hands to a loss, what may be changed, and that it learns."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from baselines.reinforcement.policies import BanditPolicy, RecurrentPolicy
from baselines.reinforcement.policy_gradient import ppo, reinforce
from baselines.reinforcement.problems import CALCULATOR, Problems, arithmetic
from baselines.reinforcement.rollouts import (
    Rollouts,
    Update,
    collect,
    imitate,
    mean_entropy,
    normalised,
    pass_at_k,
    summary,
    surrogate,
    teach,
    train_policy,
)


def bandit(seed: int = 0) -> tuple[BanditPolicy, Problems]:
    torch.manual_seed(seed)
    contexts = torch.randn(40, 6)
    labels = contexts[:, :3].argmax(1)
    return BanditPolicy(nn.Linear(6, 3)), Problems(contexts, labels, lambda a, m, y: a[:, 0] == y)


def policy(seed: int = 0) -> RecurrentPolicy:
    torch.manual_seed(seed)
    return RecurrentPolicy(len(CALCULATOR), end=CALCULATOR["$"], max_tokens=7, embedding=8, width=16)


def sgd(rate: float):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate)


def first_token(rollouts: Rollouts) -> torch.Tensor:
    """A reward that an untaught policy meets."""
    return rollouts.actions[:, 0].float()


SMALL = {"steps": 2, "questions": 8, "samples": 4, "minibatches": 2, "seed": 0, "optimizer": sgd(0.1)}


def test_it_learns() -> None:
    chosen, problems = bandit()
    steps = train_policy(
        chosen, problems, surrogate(ppo), steps=150, questions=32, samples=8, seed=0, epochs=2,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.03),
    )  # fmt: skip
    assert steps[-1].accuracy > 0.85 > steps[0].accuracy
    assert steps[-1].entropy < steps[0].entropy


def test_what_an_update_sees() -> None:
    seen: list[Update] = []

    def objective(update: Update) -> torch.Tensor:
        seen.append(update)
        return reinforce(update.logp, update.old, update.advantages, update.mask)

    problems, _ = arithmetic(5)
    train_policy(policy(), problems, objective, **SMALL, epochs=2, reward=first_token)
    assert len(seen) == 2 * 2 * 2
    first = seen[0]
    assert first.logp.shape == first.old.shape == first.advantages.shape == first.mask.shape
    assert first.ids.tolist() == [number for number in first.ids[::4].tolist() for _ in range(4)]
    assert torch.equal(first.logp, first.old)  # to the last bit
    assert not torch.equal(seen[1].logp, seen[1].old)
    assert torch.equal(first.entropy, first.old_entropy)
    assert [one.step for one in seen] == [0] * 4 + [1] * 4
    assert first.logp.requires_grad and not first.old.requires_grad


def test_one_step_of_sgd_is_the_gradient_of_the_loss() -> None:
    chosen, problems = bandit(1)
    before = [parameter.detach().clone() for parameter in chosen.parameters()]
    shown: list[Rollouts] = []
    train_policy(
        chosen, problems, surrogate(reinforce), steps=1, questions=8, samples=4, seed=3, clip_norm=None,
        optimizer=sgd(0.5), on_step=shown.append,
    )  # fmt: skip
    logp = chosen.network(shown[0].prompts)  # its weights have moved: rebuild the old ones
    weight, bias = (one.clone().requires_grad_() for one in before)
    logp = torch.nn.functional.linear(shown[0].prompts, weight, bias).log_softmax(-1)
    loss = -(normalised(shown[0]) * logp.gather(1, shown[0].actions)).mean()
    gradients = torch.autograd.grad(loss, (weight, bias))
    for parameter, old, gradient in zip(chosen.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(parameter.detach(), old - 0.5 * gradient)


def test_micro_batches_of_a_plain_mean_change_nothing() -> None:
    found = []
    for parts in (1, 4):
        chosen, problems = bandit(2)
        train_policy(chosen, problems, surrogate(partial(ppo, high=0.28)), **SMALL, micro_batches=parts)
        found.append(chosen.network.weight.detach().clone())
    torch.testing.assert_close(found[0], found[1])


def test_rewards_and_advantages_are_functions() -> None:
    problems, _ = arithmetic(5)
    shown: list[Rollouts] = []
    train_policy(
        policy(), problems, surrogate(ppo), **SMALL, on_step=shown.append,
        reward=lambda r: r.correct - 0.1 * r.lengths, advantage=lambda r: r.rewards,
    )  # fmt: skip
    one = shown[0]
    torch.testing.assert_close(one.rewards, one.correct - 0.1 * one.mask.sum(1))
    torch.testing.assert_close(one.advantages, one.rewards[:, None].expand_as(one.old))


def test_reference_is_read_on_the_same_tokens() -> None:
    problems, _ = arithmetic(5)
    shown: list[Rollouts] = []
    train_policy(
        policy(), problems, surrogate(ppo), **SMALL, reference=policy(), on_step=shown.append, reward=first_token
    )
    assert torch.equal(shown[0].reference, shown[0].old)
    assert not torch.equal(shown[1].reference, shown[1].old)


def test_dynamic_sampling_keeps_informative_groups() -> None:
    chosen, problems = bandit(3)
    rollouts = collect(chosen, problems, 16, 4, torch.Generator().manual_seed(0), dynamic=True)
    rates = rollouts.correct.view(16, 4).mean(1)
    assert ((rates > 0) & (rates < 1)).all()
    plain = collect(chosen, problems, 16, 4, torch.Generator().manual_seed(0))
    assert len(plain.ids) == len(rollouts.ids) == 64
    # Where no group ever differs, the last draw is taken as it is.
    hopeless = Problems(problems.prompts, problems.answers, lambda a, m, y: torch.zeros(len(a), dtype=torch.bool))
    assert len(collect(chosen, hopeless, 16, 4, torch.Generator().manual_seed(0), dynamic=True).ids) == 64


def test_same_seed_same_run() -> None:
    problems, _ = arithmetic(5)
    runs = [train_policy(policy(), problems, surrogate(ppo), **SMALL) for _ in range(2)]
    assert runs[0] == runs[1]


def test_summary_counts_tokens() -> None:
    problems, _ = arithmetic(5)
    rollouts = collect(policy(), problems, 8, 4, torch.Generator().manual_seed(0))
    means = summary(rollouts)
    assert means.entropy == pytest.approx(float(rollouts.old_entropy[rollouts.mask].mean()), rel=1e-5)
    assert means.length == pytest.approx(float(rollouts.mask.sum(1).float().mean()))
    assert mean_entropy(policy(), rollouts, rows=5) == pytest.approx(means.entropy, rel=1e-5)


def test_pass_at_k() -> None:
    correct = torch.tensor([1.0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0])
    assert pass_at_k(correct, 4, 1).tolist() == [0.25, 1.0, 0.0]
    expected = [1 - math.comb(3, 2) / math.comb(4, 2), 1.0, 0.0]
    assert pass_at_k(correct, 4, 2).tolist() == pytest.approx(expected)
    assert pass_at_k(correct, 4, 4).tolist() == [1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="between 1 and 4"):
        pass_at_k(correct, 4, 5)


def test_teaching_lowers_the_loss() -> None:
    problems, values = arithmetic(3)
    losses = teach(policy(), problems, values, steps=60, seed=0, batch=32, rate=1e-2)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_teaching_is_imitation_of_written_responses() -> None:
    problems, values = arithmetic(5)
    policies = [RecurrentPolicy(len(CALCULATOR), end=CALCULATOR["$"], max_tokens=8, width=16) for _ in range(2)]
    policies[1].load_state_dict(policies[0].state_dict())
    taught = teach(policies[0], problems, values, steps=3, seed=0, batch=8, copies=1)
    responses = [[f"#{value}$" for value in values], [f"{value};#{value}$" for value in values]]
    assert imitate(policies[1], problems, responses, CALCULATOR, steps=3, seed=0, batch=8) == taught


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"minibatches": 3}, "minibatches"), ({"samples": 0}, "minibatches"), ({"micro_batches": 5}, "parts")],
)
def test_refuses_what_does_not_divide(wrong: dict, message: str) -> None:
    chosen, problems = bandit()
    with pytest.raises(ValueError, match=message):
        train_policy(chosen, problems, surrogate(ppo), **{**SMALL, **wrong})


def test_says_when_a_loss_is_not_finite() -> None:
    chosen, problems = bandit()
    with pytest.raises(ValueError, match="loss of step 0 is nan"):
        train_policy(chosen, problems, lambda update: update.logp.sum() * math.nan, **SMALL)
