"""A text model on DAPO-Math-17k, as the published configuration trains one, with the shaped reward and without."""

from __future__ import annotations

from typing import Any, Unpack

import reference
from baselines.reinforcement.mathematics import Settings, train_on_mathematics
from suites.ares.contenders import Arm
from suites.ares.method import trigger_table

WORDS = (
    "again", "actually", "alternatively", "although", "assume", "because", "but", "check", "consider", "first",
    "finally", "hence", "however", "if", "instead", "let", "maybe", "next", "otherwise", "perhaps", "recall", "since",
    "so", "suppose", "then", "therefore", "thus", "verify", "wait", "whereas",
)  # fmt: skip
"""Words of reasoning, ours: the official list has 174, and is not copied."""


def mathematics(*, arm: str, window: int, percentile: float, **settings: Unpack[Settings]) -> dict[str, float]:
    """AdamW with decay 0.01, the KL penalty of `contenders`; every group is trained on."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(reference.load(settings["model"]), local_files_only=True)
    vocabulary = [str(token) for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))]
    triggers = trigger_table(vocabulary, WORDS).to(settings["device"])
    questions = len(reference.load("dapo-math-17k", "train"))
    contender = Arm(
        arm, questions, limit=settings["response"], window=window, percentile=percentile, triggers=triggers,
        device=settings["device"],
    )  # fmt: skip
    return train_on_mathematics(
        contender.objective, weight_decay=0.01, dynamic=False, reward=contender.reward, anchored=True, **settings
    )
