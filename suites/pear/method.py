r"""PEAR, a reward by the entropies of two phases of a response (arXiv:2510.08026).

A response of tokens 1..T closes its thinking with the tag at place k; H_t are the entropies, in nats and over the whole
vocabulary, of the policy that wrote it, before each token:

    H_think = mean(H_1 .. H_{k-1})      H_ans = mean(H_{k+1} .. H_T)        the tag belongs to neither
    P = max(0, H_think - alpha H_ans)
    r = min(1, score - P)  where the answer is right,  format_score  where it is wrong, 0 where there is none

alpha = 1, score = 1, format_score = 0. The reward goes into GRPO, A = (r - mean) / std of a group; entropies are
constants, no gradient passes through r.

    rewards = phase_reward(correct, entropy, *phases(actions, mask, tag))
    A = group_advantages(rewards, group)

What the notes leave open is decided so: an empty phase has mean 0, the first tag closes, and a response without a tag
is all thinking but its last token (`untagged="thinking"`), or all answer, as a related project has it (`"answer"`).
"""

from __future__ import annotations

import re
from typing import Literal

import torch

from baselines.losses import require, visible, widened
from baselines.reinforcement.policy_gradient import group_advantages

__all__ = ["extracted", "group_advantages", "penalty", "phase_means", "phase_reward", "phases", "score_text"]

Untagged = Literal["thinking", "answer"]


def phases(
    actions: torch.Tensor, mask: torch.Tensor, tag: int, *, untagged: Untagged = "thinking"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where a response thinks and where it answers, bool (B, T) both, from its tokens int64 (B, T).

    Raises ValueError for shapes that differ and an unknown convention.
    """
    if actions.shape != mask.shape or actions.ndim != 2:
        raise ValueError(f"actions {tuple(actions.shape)} and mask {tuple(mask.shape)} must be of one shape (B, T)")
    if untagged not in ("thinking", "answer"):
        raise ValueError(f"untagged must be thinking or answer, got {untagged!r}")
    inside = mask.bool()
    tags = (actions == tag) & inside
    after = tags.long().cumsum(1) - tags.long() > 0
    before = inside & (tags.long().cumsum(1) == 0)
    tagged = tags.any(1, keepdim=True)
    # The place of the tag is the last one where there is none.
    count = inside.long().cumsum(1)
    last = inside & (count == count[:, -1:]) if mask.shape[1] else inside
    if untagged == "answer":
        return before & tagged, torch.where(tagged, inside & after, inside)
    return before & (tagged | ~last), inside & after


def phase_means(
    entropy: torch.Tensor, thinking: torch.Tensor, answer: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """H_think and H_ans, (B,) both, of entropies (B, T); 0 for an empty phase. What is in neither is never looked at.

    Raises ValueError for shapes that differ, and for entropies in a phase that are not finite.
    """
    if not entropy.shape == thinking.shape == answer.shape or entropy.ndim != 2:
        shapes = [tuple(one.shape) for one in (entropy, thinking, answer)]
        raise ValueError(f"entropy, thinking and answer must be of one shape (B, T), got {shapes}")
    if visible(entropy):
        wrong = (~entropy.isfinite() & (thinking.bool() | answer.bool())).nonzero()[:5].tolist()
        require(not wrong, "entropies must be finite", f"others at (response, token) {wrong}")
    values = widened(entropy.detach())
    means = [
        torch.where(part.bool(), values, 0).sum(1) / part.bool().sum(1).clamp(min=1) for part in (thinking, answer)
    ]
    return means[0], means[1]


def penalty(thinking: torch.Tensor, answer: torch.Tensor, *, alpha: float = 1.0) -> torch.Tensor:
    """P of mean entropies (B,): >= 0."""
    return (thinking - alpha * answer).clamp(min=0)


def phase_reward(
    correct: torch.Tensor,
    entropy: torch.Tensor,
    thinking: torch.Tensor,
    answer: torch.Tensor,
    *,
    alpha: float = 1.0,
    score: float = 1.0,
    format_score: float = 0.0,
    found: torch.Tensor | None = None,
) -> torch.Tensor:
    """r of B responses, (B,). correct: bool or 0 and 1, (B,). found: whether there is an answer at all, bool (B,).

    r is at most 1 and has no lower bound: of a right answer it falls below that of a wrong one where
    P > score - format_score. Raises ValueError for shapes that differ, entropies that are not finite, outcomes other
    than 0 and 1, a score outside (0, 1] and a format_score outside [0, 1).
    """
    if correct.shape != entropy.shape[:1] or (found is not None and found.shape != correct.shape):
        raise ValueError(f"outcomes must be (B,) = {tuple(entropy.shape[:1])}, got {tuple(correct.shape)}")
    require(0 < score <= 1, "score must lie in (0, 1]", score)
    require(0 <= format_score < 1, "format_score must lie in [0, 1)", format_score)
    require(not visible(correct) or bool(((correct == 0) | (correct == 1)).all()), "outcomes must be 0 or 1", correct)
    right = (score - penalty(*phase_means(entropy, thinking, answer), alpha=alpha)).clamp(max=1)
    rewards = torch.where(correct.bool(), right, format_score)
    return rewards if found is None else torch.where(found.bool(), rewards, 0)


# Scoring of texts, as for GSM8K.


def extracted(text: str, method: Literal["strict", "flexible"] = "strict") -> str | None:
    """The answer of a solution, commas left out, from its last 300 characters; None where there is none.

    strict: the number after the last four hashes. flexible: the last number. Raises ValueError for another method.
    """
    if method not in ("strict", "flexible"):
        raise ValueError(f"method must be strict or flexible, got {method!r}")
    number = r"-?\d[\d,]*(?:\.\d+)?"
    pattern = rf"####\s*\$?({number})" if method == "strict" else f"({number})"
    matches = re.findall(pattern, text[-300:])
    return matches[-1].replace(",", "") if matches else None


def score_text(
    text: str,
    truth: str,
    *,
    entropies: torch.Tensor,
    tokens: torch.Tensor,
    tag: int,
    method: Literal["strict", "flexible"] = "strict",
    alpha: float = 1.0,
    score: float = 1.0,
    format_score: float = 0.0,
    untagged: Untagged = "thinking",
) -> float:
    """r of one response: its text, the right answer, and entropies and tokens (T,) of what was written."""
    answer = extracted(text, method)
    mask = torch.ones(1, len(tokens), dtype=torch.bool, device=tokens.device)
    parts = phases(tokens[None], mask, tag, untagged=untagged)
    return float(
        phase_reward(
            torch.tensor([answer == truth.replace(",", "")], device=entropies.device), entropies[None], *parts,
            alpha=alpha, score=score, format_score=format_score,
            found=torch.tensor([answer is not None], device=entropies.device),
        )
    )  # fmt: skip
