"""Top-p beams on a pretrained language model: how likely its continuations are, and how many sums it gets right.

All arms share one reading of the prompts, whose key-value cache each takes a copy of, and one way to decode,
`method.top_p_beam`: one chain is greedy decoding, four independent ones that are drawn are nucleus samples.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file

import reference
from baselines.language_models import pretrained
from baselines.reinforcement.problems import CALCULATOR, calculator
from baselines.text_generation import end_tokens
from suites.riemann_ce import method

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL = "smollm2-135m-instruct-q4_1"
WIDTH, TOP_P = 4, 0.9
WIKI_TOKENS, QUESTION_TOKENS = 32, 64
CONTINUED, CONTINUED_TOKENS = 10, 12
"""Prompts of a seed and data set, and tokens behind each."""
ASKED, ANSWER_TOKENS = 32, 5
SOLVED = (("5*8", "40"), ("12+7", "19"), ("60/4", "15"), ("31-9", "22"))


class Reader:
    """Prompts that were read once: `cache` of keys and values, and log-probabilities of the token behind each."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], banned: Collection[int] = ()) -> None:
        self.model, self.banned = model, list(banned)
        width = max(map(len, prompts))
        self.seen = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts])
        tokens = torch.tensor([[0] * (width - len(one)) + list(one) for one in prompts])
        places = (self.seen.cumsum(1) - 1).clamp_min(0)
        with torch.no_grad():
            read = model(input_ids=tokens, attention_mask=self.seen, position_ids=places, logits_to_keep=1)
        self.cache, self.first = read.past_key_values, self.logs(read.logits)

    def logs(self, logits: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (B, V) of the last token, of which the banned ones have none."""
        last = logits[:, -1].float()
        last[:, self.banned] = -torch.inf
        return last.log_softmax(-1)

    def chains(self, copies: int = 1) -> Chains:
        """Where `copies` searches begin behind each prompt, next to each other."""
        return Chains(self, copies)


class Chains:
    """What `method.top_p_beam` calls for the next log-probabilities; the cache follows the order of the chains."""

    def __init__(self, reader: Reader, copies: int) -> None:
        self.reader, self.cache = reader, copy.deepcopy(reader.cache)
        rows = torch.arange(len(reader.first)).repeat_interleave(copies)
        self.cache.reorder_cache(rows)
        self.seen, self.first = reader.seen[rows], reader.first[rows]

    @torch.no_grad()
    def __call__(self, tokens: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
        prompts, width, length = tokens.shape
        if not length:
            return self.first[:, None]
        before = self.seen.shape[0] // prompts  # chains of each prompt at the call before
        rows = (torch.arange(prompts)[:, None] * before + parents).flatten()
        self.cache.reorder_cache(rows)
        self.seen = torch.nn.functional.pad(self.seen[rows], (0, 1), value=1)
        out = self.reader.model(
            input_ids=tokens[:, :, -1].reshape(-1, 1), attention_mask=self.seen,
            position_ids=self.seen.sum(1, keepdim=True) - 1, past_key_values=self.cache,
        )  # fmt: skip
        return self.reader.logs(out.logits).view(prompts, width, -1)


def decoded(reader: Reader, steps: int, seed: int) -> dict[str, method.Beams]:
    """Four chains of each prompt by every way to decode; greedy decoding has one."""
    prompts = len(reader.first)
    generator = torch.Generator().manual_seed(seed)
    drawn = method.top_p_beam(
        reader.chains(WIDTH), prompts * WIDTH, steps, width=1, top_p=TOP_P, generator=generator
    )  # fmt: skip
    return {
        "top_p_beam": method.top_p_beam(reader.chains(), prompts, steps, width=WIDTH, top_p=TOP_P),
        "beam": method.top_p_beam(reader.chains(), prompts, steps, width=WIDTH, top_p=1.0),
        "greedy": method.top_p_beam(reader.chains(), prompts, steps, width=1, top_p=TOP_P),
        "nucleus": method.Beams(drawn.tokens.view(prompts, WIDTH, steps), drawn.log_probs.view(prompts, WIDTH)),
    }


def wikipedia(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The beginnings of paragraphs of WikiText-2's test part, of WIKI_TOKENS tokens."""
    lines = reference.load("wikitext-2-heldout", "test").text.split("\n")
    long = [line.strip() for line in lines if len(line) > 8 * WIKI_TOKENS and not line.startswith(" =")]
    return [tokenizer(line).input_ids[:WIKI_TOKENS] for line in long]


def questions(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Questions of GSM8K's test part in a line of their own, those of at most QUESTION_TOKENS tokens."""
    texts = [f"Question: {problem.question}\nAnswer:" for problem in reference.load("gsm8k", "test")]
    rows = [tokenizer(text).input_ids for text in texts]
    return [row for row in rows if len(row) <= QUESTION_TOKENS]


PROMPTS = {"wikitext-2-heldout": wikipedia, "gsm8k": questions}


def share(count: int, prompts: int, place: int) -> list[int]:
    """The numbers of the `place`-th of the disjoint groups of prompts, in one fixed random order of all of them."""
    order = np.random.default_rng(0).permutation(count)
    if (place + 1) * prompts > count:
        raise ValueError(f"{count} prompts have no group {place} of {prompts}: ask for fewer seeds or prompts")
    return [int(one) for one in order[place * prompts : (place + 1) * prompts]]


def chains(*, seed: int) -> dict[str, torch.Tensor]:
    """What every way to decode writes, by name: {dataset.name.tokens: (N, 4, T), dataset.name.log_probs: (N, 4)}.

    Of the sums the numbers that were answered, {sums.name.number: (N, 4)}, -1 where there is none, and {sums.value: N}.
    """
    model, tokenizer = pretrained(MODEL)
    kept: dict[str, torch.Tensor] = {}
    for dataset, prompts in PROMPTS.items():
        rows = prompts(tokenizer)
        chosen = [rows[one] for one in share(len(rows), CONTINUED, seed)]
        for name, found in decoded(Reader(model, chosen, end_tokens(model)), CONTINUED_TOKENS, seed).items():
            kept |= {f"{dataset}.{name}.tokens": found.tokens, f"{dataset}.{name}.log_probs": found.log_probs}
    problems, values = calculator()
    asked = share(len(values), ASKED, seed)
    shown = "".join(f"{left}={right}\n" for left, right in SOLVED)
    rows = [tokenizer(shown + CALCULATOR.decode(problems.prompts[one])).input_ids for one in asked]
    for name, found in decoded(Reader(model, rows), ANSWER_TOKENS, seed).items():
        texts = [[str(tokenizer.decode(chain)) for chain in group] for group in found.tokens.tolist()]
        kept[f"sums.{name}.number"] = torch.tensor([[number(text) for text in group] for group in texts])
    return kept | {"sums.value": torch.tensor([int(values[one]) for one in asked])}


def number(text: str) -> int:
    """The number that stands alone in the first line, else -1."""
    line = text.split("\n")[0].strip()
    return int(line) if line.isdecimal() else -1


def decoding(*, arm: str, dataset: str, chains: Path) -> dict[str, float]:
    """Mean log-probability of what an arm answers, and how varied all of its chains are."""
    kept = load_file(chains)
    found = {name.removeprefix(f"{dataset}."): of for name, of in kept.items() if name.startswith(dataset)}
    name = "nucleus" if arm == "best_of_four" else arm
    tokens, logs = found[f"{name}.tokens"], found[f"{name}.log_probs"].double()
    answer = logs.mean(1) if arm == "nucleus" else logs.max(1).values
    neighbours = torch.stack([tokens[:, :, :-1].flatten(), tokens[:, :, 1:].flatten()], 1)
    greedy, beam = (found[f"{one}.log_probs"].double()[:, 0] for one in ("greedy", "beam"))
    return {
        "log_prob": float(answer.mean()), "distinct_2": len(neighbours.unique(dim=0)) / len(neighbours),
        "below_greedy": float((answer < greedy - 1e-4).double().mean()), "below_beam": float((beam - answer).mean()),
    }  # fmt: skip


def sums(*, arm: str, chains: Path) -> dict[str, float]:
    """Accuracy in %."""
    found = load_file(chains)
    name = "nucleus" if arm == "majority_of_four" else arm
    numbers, value = found[f"sums.{name}.number"], found["sums.value"]
    if arm == "nucleus":
        right = (numbers == value[:, None]).double().mean(1)
    elif arm == "majority_of_four":
        right = torch.tensor([Counter(row).most_common(1)[0][0] for row in numbers.tolist()]).eq(value).double()
    else:
        right = (numbers[:, 0] == value).double()
    return {"accuracy": 100 * float(right.mean()), "no_number": float((numbers[:, 0] < 0).double().mean())}
