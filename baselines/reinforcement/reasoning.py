"""The bench of reasoning: chains of steps for which thinking pays, a policy that has been taught them, its measures.

    problems, values = gsm8k_chains("train")          # `48/2;48+a=`, and the values ("24", "72") of its steps
    policy = chain_policy()
    policy.load_state_dict(chain_start(device=torch.device("cpu")))
    print(worth_of_steps(policy, problems))           # accuracy with its steps, and without

A response thinks, then answers: `24;#72$`. What stands before the first `#` is thinking, what stands after it the
answer. The policy is first taught responses in the four `STYLES`: it may skip its steps (and is then mostly wrong),
show half of them, show each once, or show each twice (which helps no more than once). So accuracy can be won by
thinking more, length can be saved without loss, and which of the two a method finds is what the bench is for.

The problems are of three kinds: `gsm8k_chains` are the calculator marks of GSM8K's solutions with values below 100,
`refilled_chains` these solutions' shapes with other numbers (what the policy is taught on: it has met none of the
former), `modular_chains` sums modulo 10 of set depth.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from baselines.reinforcement.policies import LanguagePolicy, TransformerPolicy
from baselines.reinforcement.policy_gradient import kl_terms, masked_mean, token_entropy, token_log_probs
from baselines.reinforcement.problems import CHAIN, LETTERS, Problems, chains, ends_with, worked
from baselines.reinforcement.rollouts import Rollouts, collect, pass_at_k
from baselines.training import cosine

Values = tuple[str, ...]
"""The value of each step of a chain; the last is the answer."""
WIDTH = 18
"""Symbols of a prompt, padding included."""
LONGEST = 24
"""Symbols of a response: four steps of two digits, all but the last of them twice."""
TAG = CHAIN["#"]
"""What closes the thinking."""


def thought(values: Values, copies: int) -> str:
    """A response that shows every step but the last `copies` times."""
    return "".join(f"{value};" * copies for value in values[:-1]) + f"#{values[-1]}$"


STYLES = {
    "skipped": lambda values: thought(values, 0),
    "half": lambda values: worked(values, (len(values) - 1) // 2),
    "once": lambda values: thought(values, 1),
    "twice": lambda values: thought(values, 2),
}
"""Responses to a chain, from its values. Of one step before the last, half are none."""
TAUGHT = ("skipped", "half", "once", "once", "twice", "twice")
"""The styles that a policy is taught, as often as they stand here."""


# Problems.


def gsm8k_chains(split: str = "train") -> tuple[Problems, list[Values]]:
    """Chains of two to four calculator marks of GSM8K's solutions, their numbers and values of at most two digits."""
    problems, values = chains(split, digits=2, expression=5)
    rows = [row for row, prompt in enumerate(problems.prompts) if int((prompt != 0).sum()) <= WIDTH]
    kept = problems[torch.tensor(rows)]
    missing = WIDTH - kept.prompts.shape[1]
    prompts = F.pad(kept.prompts, (missing, 0)) if missing > 0 else kept.prompts[:, -WIDTH:]
    return Problems(prompts, kept.answers, ends_with, kept.weights), [values[row] for row in rows]


def refilled_chains(per_shape: int = 20, tries: int = 400) -> tuple[Problems, list[Values]]:
    """The shapes of GSM8K's training solutions with numbers drawn anew from its numbers below 100, equally often.

    A shape that came c times is filled at most `per_shape` times c ways: of `tries` min(c, 20) draws those whose values
    are all whole numbers from 1 to 99.
    """
    problems, _ = chains("train", digits=4, expression=11)
    prompts = [CHAIN.decode(prompt)[:-1] for prompt in problems.prompts]
    pool = np.array([int(number) for prompt in prompts for number in re.findall(r"\d+", prompt) if len(number) <= 2])
    shapes = Counter(re.sub(r"\d+", "N", prompt) for prompt in prompts)
    generator = np.random.default_rng(0)
    found: dict[str, Values] = {}
    for shape, count in shapes.items():
        steps = [re.split(r"([+\-*/])", step) for step in shape.split(";")]
        if all("" not in step and len(step) <= 5 for step in steps):
            found |= dict(_filled(steps, pool, tries * min(count, 20), generator)[: per_shape * count])
    kept = {prompt: values for prompt, values in found.items() if len(prompt) <= WIDTH}
    return _problems(list(kept), list(kept.values()))


def _filled(
    steps: list[list[str]], pool: np.ndarray, draws: int, generator: np.random.Generator
) -> list[tuple[str, Values]]:
    """Prompts with their values, from the words of each step: N, the letter of an earlier step, or a sign."""
    fits = np.ones(draws, dtype=bool)
    values: list[np.ndarray] = []
    texts: list[list[np.ndarray | str]] = []
    for words in steps:
        numbers: list[np.ndarray] = []
        text: list[np.ndarray | str] = []
        for word in words:
            if word == "N":
                drawn = pool[generator.integers(len(pool), size=draws)]
                numbers.append(drawn.astype(float))
                text.append(drawn)
            else:
                if word in LETTERS:
                    numbers.append(values[LETTERS.index(word)])
                text.append(word)
        value = _value(numbers, words[1::2])
        fits &= np.isfinite(value) & (value >= 1) & (value <= 99) & (value == np.round(value))
        values.append(np.where(fits, value, 1))
        texts.append(text)
    return [
        (
            ";".join("".join(one if isinstance(one, str) else str(one[row]) for one in text) for text in texts) + "=",
            tuple(str(int(value[row])) for value in values),
        )
        for row in np.flatnonzero(fits)
    ]


def _value(numbers: Sequence[np.ndarray], signs: Sequence[str]) -> np.ndarray:
    """Of an expression, products and quotients first."""
    terms = [numbers[0]]
    for sign, number in zip(signs, numbers[1:], strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            if sign == "*":
                terms[-1] = terms[-1] * number
            elif sign == "/":
                terms[-1] = terms[-1] / number
            else:
                terms.append(number if sign == "+" else -number)
    with np.errstate(invalid="ignore"):
        return np.sum(terms, axis=0)


def modular_chains(depths: Sequence[int], count: int, *, seed: int, modulus: int = 10) -> tuple[Problems, list[Values]]:
    """`3+4*7-2=`, read from left to right, each value modulo `modulus`: (3 + 4) * 7 - 2 = 7 in three steps.

    Each depth equally often. Raises ValueError for a modulus that is not 2 to 10, and depths that no prompt can hold.
    """
    if not 2 <= modulus <= 10:
        raise ValueError(f"values are single digits: modulus must lie between 2 and 10, got {modulus}")
    if min(depths) < 2 or 2 * max(depths) + 2 > WIDTH:
        raise ValueError(f"depths must lie between 2 and {WIDTH // 2 - 1}, got {list(depths)}")
    generator = np.random.default_rng(seed)
    prompts, values = [], []
    for number in range(count):
        depth = depths[number % len(depths)]
        operands, signs = generator.integers(modulus, size=depth + 1), generator.integers(3, size=depth)
        prompt, value, steps = str(operands[0]), int(operands[0]), []
        for operand, sign in zip(operands[1:].tolist(), signs, strict=True):
            prompt += f"{'+-*'[sign]}{operand}"
            value = (value + operand, value - operand, value * operand)[sign] % modulus
            steps.append(str(value))
        prompts.append(f"{prompt}=")
        values.append(tuple(steps))
    return _problems(prompts, values)


def _problems(prompts: Sequence[str], values: Sequence[Values]) -> tuple[Problems, list[Values]]:
    answers = CHAIN.encode([f"#{one[-1]}$" for one in values], left=True)
    return Problems(CHAIN.encode(prompts, left=True, width=WIDTH), answers, ends_with), list(values)


# The policy and its warm start.


def chain_policy() -> TransformerPolicy:
    """Two layers of width 64, untaught."""
    return TransformerPolicy(len(CHAIN), end=CHAIN["$"], max_tokens=LONGEST, length=WIDTH + LONGEST)


def warm_start(
    policy: LanguagePolicy, problems: Problems, values: Sequence[Values], *, steps: int, seed: int, batch: int = 64,
    rate: float = 3e-3,
) -> list[float]:  # fmt: skip
    """Cross-entropy on responses in one of the styles `TAUGHT` each. Returns the losses.

    Adam, the rate up in 100 steps and down to 0 as a cosine.
    """
    device = problems.prompts.device
    encoded = [CHAIN.encode([STYLES[style](one) for one in values]) for style in TAUGHT]
    width = max(one.shape[1] for one in encoded)
    targets = torch.stack([F.pad(one, (0, width - one.shape[1])) for one in encoded]).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    stepper = torch.optim.Adam(policy.parameters(), lr=rate)
    schedule = cosine(steps, warmup=min(100, steps - 1))(stepper)
    losses = []
    for _ in range(steps):
        ids = torch.randint(len(problems), (batch,), generator=generator, device=device)
        style = torch.randint(len(TAUGHT), (batch,), generator=generator, device=device)
        wanted = targets[style, ids]
        wanted = wanted[:, : int((wanted != CHAIN.PAD).sum(1).max())]
        logits = policy.logits(problems.prompts[ids], wanted)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=CHAIN.PAD)
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return losses


def chain_start(*, device: torch.device, steps: int = 3000) -> dict[str, torch.Tensor]:
    """Weights of `chain_policy` taught on `refilled_chains`."""
    return _start(refilled_chains(), device, steps)


def modular_start(*, device: torch.device, steps: int = 1800) -> dict[str, torch.Tensor]:
    """Weights of `chain_policy` taught on 40,000 `modular_chains` of two to five steps."""
    return _start(modular_chains((2, 3, 4, 5), 40_000, seed=1_000_000), device, steps)


def _start(taught: tuple[Problems, list[Values]], device: torch.device, steps: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = chain_policy().to(device)
    problems, values = taught
    warm_start(policy, problems.to(device), values, steps=steps, seed=0)
    return policy.state_dict()


# Measures.


def phases(actions: torch.Tensor, mask: torch.Tensor, tag: int = TAG) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens before the first `tag` and tokens after it, bool (B, T) both; without a tag all of them are before it."""
    closed = ((actions == tag) & mask.bool()).long().cumsum(1)
    first = (closed == 1) & (actions == tag)
    return mask.bool() & (closed == 0), mask.bool() & (closed > 0) & ~first


def total_variation(curve: Sequence[float]) -> float:
    """The sum of the absolute differences between neighbours; 0 for fewer than two."""
    return float(np.abs(np.diff(np.asarray(curve, dtype=float))).sum())


@dataclass(frozen=True)
class Measures:
    """Of `samples` responses to each of N problems; entropies and KL are means over tokens, in nats."""

    accuracy: float
    pass_at_k: float  # of k = samples
    length: float  # tokens
    thinking: float  # tokens before the tag
    entropy: float
    thinking_entropy: float
    answer_entropy: float
    kl: float  # to the start, k3; 0 where there is none
    solved: torch.Tensor  # accuracy of each problem, (N,)
    lengths: torch.Tensor  # mean length of each problem, (N,)

    def numbers(self) -> dict[str, float]:
        """All but the tensors."""
        return {name: value for name, value in vars(self).items() if isinstance(value, float)}


@torch.no_grad()
def measure(
    policy: LanguagePolicy, problems: Problems, *, samples: int, seed: int, start: LanguagePolicy | None = None,
) -> Measures:  # fmt: skip
    """All problems, `samples` responses each, drawn from a generator of `seed`."""
    device = problems.prompts.device
    everything = Problems(problems.prompts, problems.answers, problems.verify)
    generator = torch.Generator(device).manual_seed(seed)
    found = collect(policy, everything, len(problems), samples, generator)
    # `collect` draws the problems in an order of its own.
    order = found.ids.argsort(stable=True)
    thinking, answer = phases(found.actions, found.mask)
    kl = 0.0
    if start is not None:
        referred = token_log_probs(start.logits(found.prompts, found.actions), found.actions)
        kl = float(masked_mean(kl_terms(found.old, referred, found.mask), found.mask))
    return Measures(
        accuracy=float(found.correct.mean()),
        pass_at_k=float(pass_at_k(found.correct, samples, samples).mean()),
        length=float(found.lengths.float().mean()),
        thinking=float(thinking.sum(1).float().mean()),
        entropy=float(masked_mean(found.old_entropy, found.mask)),
        thinking_entropy=float(masked_mean(found.old_entropy, thinking)),
        answer_entropy=float(masked_mean(found.old_entropy, answer)),
        kl=kl,
        solved=found.correct[order].view(-1, samples).mean(1),
        lengths=found.lengths[order].view(-1, samples).float().mean(1),
    )


@torch.no_grad()
def worth_of_steps(policy: LanguagePolicy, problems: Problems) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether the likeliest response to each problem is right, bool (N,): made to think, and made to answer at once.

    It is made to think by forbidding the tag as the first symbol, and to answer by writing the tag for it.
    """
    logits, _ = policy.begin(problems.prompts)
    logits[:, TAG] = -torch.inf
    think, answer = logits.argmax(-1), torch.full_like(problems.prompts[:, 0], TAG)
    return _likeliest(policy, problems, think), _likeliest(policy, problems, answer)


def _likeliest(policy: LanguagePolicy, problems: Problems, first: torch.Tensor) -> torch.Tensor:
    """Whether responses are right that begin with `first` (N,) and go on with the likeliest symbols, bool (N,)."""
    _, state = policy.begin(problems.prompts)
    actions = [first]
    while len(actions) < policy.max_tokens:
        logits, state = policy.step(actions[-1], state)
        actions.append(logits.argmax(-1))
    stacked = torch.stack(actions, 1)
    ends = stacked == policy.end
    return problems.verify(stacked, ends.long().cumsum(1) - ends.long() == 0, problems.answers)


@torch.no_grad()
def continued(
    policy: LanguagePolicy, problems: Problems, rollouts: Rollouts, rows: torch.Tensor, places: torch.Tensor,
    generator: torch.Generator, *, samples: int,
) -> torch.Tensor:  # fmt: skip
    """How often responses are right that go on from prefixes, float (P,): prefix p is `rollouts` row p before place p.

    `rows` and `places` are int64 (P,); a prefix of place t holds the first t actions of its response. The prefixes of
    one length are sampled together.
    """
    chances, limit = torch.zeros(len(rows), device=rows.device), policy.max_tokens
    for place in places.unique().tolist():
        here = (places == place).nonzero().squeeze(1)
        taken = rows[here].repeat_interleave(samples)
        prefix = rollouts.actions[taken, :place]
        policy.max_tokens = limit - place
        try:
            actions, mask = policy.sample(torch.cat([rollouts.prompts[taken], prefix], 1), generator)
        finally:
            policy.max_tokens = limit
        whole, seen = torch.cat([prefix, actions], 1), torch.cat([torch.ones_like(prefix, dtype=torch.bool), mask], 1)
        right = problems.verify(whole, seen, problems.answers[rollouts.ids[taken]])
        chances[here] = right.view(-1, samples).float().mean(1)
    return chances


def entropies(policy: LanguagePolicy, rollouts: Rollouts) -> torch.Tensor:
    """Entropies of `policy` before each token of given responses, (B, T)."""
    with torch.no_grad():
        return token_entropy(policy.logits(rollouts.prompts, rollouts.actions))
