"""MATH with direct answers: Llama-3-8B fine-tuned by cross-entropy or for N tries. Needs transformers and 76 GiB."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

import reference
from baselines.language_models import pretrained
from suites.direct_coverage.method import contributing, coverage, direct_coverage, log_probability

PROMPT = "Answer the problem directly, without any reasoning.\n\nProblem: {question}\n\nAnswer: "
BATCH, MICRO = 128, 4
RATE, WARM_UP = 2e-5, 20
Rows = list[tuple[list[int], int]]
"""Tokens of prompt and answer, and where the answer begins."""


def on_math(
    *, arm: str, seed: int, device: torch.device, model: str, epochs: int, limit: int
) -> dict[str, float | list[float]]:
    """pass@N on test questions, in percent, after every epoch, and the change from the first to the last.

    ce, dco_16 or dco_256; an epoch is one pass over the candidates, of which the method skips those with F below .1.
    `limit` takes so many questions of each part at most.
    """
    log_p = fine_tuned(arm, seed, device, model, epochs, limit)
    found: dict[str, float | list[float]] = {}
    for n in (1, 16, 256, 4096):
        values = [100 * float(one) for one in coverage(log_p, n).mean(1)]
        found |= {f"pass_{n}": values, f"last_{n}": values[-1], f"change_{n}": values[-1] - values[0]}
    return found


def fine_tuned(arm: str, seed: int, device: torch.device, model: str, epochs: int, limit: int) -> torch.Tensor:
    """log p of the right answer to each test question after every epoch, (epochs, questions)."""
    loaded, tokenizer = pretrained(model, precision=torch.bfloat16)
    loaded.gradient_checkpointing_enable()
    network = nn.Module.to(loaded, device)
    train, test = (tokenised(part, tokenizer, limit) for part in ("train", "test"))
    n = 1 if arm == "ce" else int(arm.removeprefix("dco_"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARM_UP))
    order = np.random.default_rng(seed)
    found: list[torch.Tensor] = []
    size = min(BATCH, len(train))
    left: list[int] = []
    for _ in range(epochs):
        left += order.permutation(len(train)).tolist()
        whole = len(left) // size * size  # what is left over opens the next epoch
        candidates, left = left[:whole], left[whole:]
        for ids in contributing(candidates, lambda ids: log_p_of(network, [train[one] for one in ids]), n=n, size=size):
            network.train()
            for start in range(0, len(ids), MICRO):
                part = [train[one] for one in ids[start : start + MICRO]]
                logits, targets = answered(network, part)
                values = direct_coverage(logits, targets, n=n, form="surrogate", reduction="sum")
                (values / len(ids)).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        found.append(log_p_of(network, test))
    return torch.stack(found)


def tokenised(part: str, tokenizer: Any, limit: int) -> Rows:
    """Each question with its answer between dollar signs, and the end of the text, which belongs to it."""
    tested = reference.load("math500", "test")
    if part == "test":
        problems = list(tested)
    else:  # all of MATH but the 500
        apart = {problem.question for problem in tested}
        every = [*reference.load("math", "train"), *reference.load("math", "test")]
        problems = [problem for problem in every if problem.question not in apart]
    rows = []
    for problem in problems[:limit]:
        prompt = tokenizer(PROMPT.format(question=problem.question)).input_ids
        answer = tokenizer(f"${problem.answer}$", add_special_tokens=False).input_ids
        rows.append(([*prompt, *answer, tokenizer.eos_token_id], len(prompt)))
    return rows


def answered(network: nn.Module, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, T, V) and the tokens that they should foretell, -100 where these are of no answer."""
    device, width = next(network.parameters()).device, max(len(tokens) for tokens, _ in rows)
    tokens = torch.tensor([one + [0] * (width - len(one)) for one, _ in rows], device=device)
    place = torch.arange(width, device=device)
    begins = torch.tensor([[first] for _, first in rows], device=device)
    ends = torch.tensor([[len(one)] for one, _ in rows], device=device)
    targets = torch.where((place >= begins) & (place < ends), tokens, -100)
    # Padding stands behind, where a causal model does not look.
    return network(input_ids=tokens[:, :-1]).logits, targets[:, 1:]


@torch.no_grad()
def log_p_of(network: nn.Module, rows: Rows) -> torch.Tensor:
    """log p (N,) of the answers, in evaluation mode."""
    network.eval()
    parts = [rows[start : start + 2 * MICRO] for start in range(0, len(rows), 2 * MICRO)]
    return torch.cat([log_probability(*answered(network, part)).double().cpu() for part in parts])
