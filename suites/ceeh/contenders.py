"""The arms: plain GRPO, brevity alone, both kinds of CEEH, and what isolates where the entropy goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from baselines.reinforcement.policy_gradient import kl_penalty, ppo
from baselines.reinforcement.rollouts import Rollouts, Update
from suites.ceeh.method import Anchor, Memory, annealed, ceeh_ea, ceeh_me, group_advantages


@dataclass(frozen=True)
class Arm:
    """What differs between the arms; all have the advantages R - mean R and the clip range of the paper."""

    brief: bool = True  # with the length reward
    entropy: Literal["none", "advantage", "loss"] = "none"
    where: Literal["hard", "easy", "shuffled", "anywhere"] = "hard"
    """shuffled: on the difficulties of other questions of the batch. anywhere: the factor on no question, so that all
    weigh alike."""
    anchor: Anchor = "min"


ARMS = {
    "grpo": Arm(brief=False),
    "length_only": Arm(),
    "ceeh_me": Arm(entropy="loss"),
    "ceeh_ea": Arm(entropy="advantage"),
    "me_shuffled": Arm(entropy="loss", where="shuffled"),
    "me_easy": Arm(entropy="loss", where="easy"),
    "me_uniform": Arm(entropy="loss", where="anywhere"),
    "me_ema_anchor": Arm(entropy="loss", anchor="ema"),
}


class Learner:
    """One run of an arm: `reward` is called once a batch, and `objective` on its minibatches of whole groups."""

    def __init__(
        self, arm: str, questions: int, *, steps: int, seed: int, length_scale: float, coefficient: float,
        device: torch.device, kl: float = 0.001,
    ) -> None:  # fmt: skip
        self.arm, self.steps, self.coefficient, self.kl = ARMS[arm], steps, coefficient, kl
        self.memory = Memory(questions, anchor=self.arm.anchor, scale=length_scale).to(device)
        self.heavy = torch.zeros(questions, dtype=torch.bool, device=device)
        self.generator = torch.Generator().manual_seed(seed)

    def reward(self, rollouts: Rollouts) -> torch.Tensor:
        """Outcomes, and length rewards where the arm is brief; the difficulties are kept for the updates."""
        visit = self.memory.visit(rollouts.ids, rollouts.correct, rollouts.lengths)
        rows = torch.arange(0, len(rollouts.ids), rollouts.group, device=rollouts.ids.device)
        places: dict[str, Callable[[], torch.Tensor]] = {
            "hard": lambda: visit.hard[rows],
            "easy": lambda: ~visit.hard[rows],
            "shuffled": lambda: visit.hard[rows[torch.randperm(len(rows), generator=self.generator).to(rows.device)]],
            "anywhere": lambda: torch.zeros_like(visit.hard[rows]),
        }
        self.heavy[rollouts.ids[rows]] = places[self.arm.where]()
        return rollouts.correct + visit.bonus.to(rollouts.correct.dtype) * self.arm.brief

    def objective(self, update: Update) -> torch.Tensor:
        """The arm's loss, with the KL penalty where there is a reference."""
        advantages = group_advantages(update.rewards, update.group, std=False)
        heavy = self.heavy[update.ids]
        if self.arm.entropy == "advantage":
            loss = ceeh_ea(update.logp, update.old, advantages, update.entropy, update.mask, heavy)
        elif self.arm.entropy == "loss":
            loss = ceeh_me(
                update.logp, update.old, advantages, update.entropy, update.mask, heavy,
                coefficient=self.coefficient, scale=annealed(update.step + 1, self.steps),
            )  # fmt: skip
        else:
            loss = ppo(update.logp, update.old, advantages, update.mask, low=0.2, high=0.28, dual=3.0)
        if update.reference is None:
            return loss
        return loss + self.kl * kl_penalty(update.logp, update.reference, update.mask)
