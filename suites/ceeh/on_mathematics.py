"""The paper's own protocol: a distilled reasoning model on mathematics in words, evaluated on competitions."""

from __future__ import annotations

from typing import Unpack

from baselines.reinforcement.mathematics import Settings, train_on_mathematics
from suites.ceeh.contenders import Learner

EVALUATED = dict.fromkeys(("gsm8k", "math500", "aime24", "aime25", "amc23"), (16, 0.6))
"""16 responses to each problem at temperature 0.6."""


def mathematics(
    *, arm: str, train: str, subset: int, length_scale: float, coefficient: float, **settings: Unpack[Settings]
) -> dict[str, float]:
    """The official recipe on `subset` questions of the set `train`, AdamW with weight decay 0.01."""
    learner = Learner(
        arm, subset, steps=settings["steps"], seed=settings["seed"], length_scale=length_scale,
        coefficient=coefficient, device=settings["device"],
    )  # fmt: skip
    return train_on_mathematics(
        learner.objective, train=train, subset=subset, evaluated=EVALUATED, dynamic=False, weight_decay=0.01,
        reward=learner.reward, anchored=True, **settings,
    )  # fmt: skip
