"""A pretrained language model on school problems: which entropy foretells that another token changes the answer."""

from __future__ import annotations

import re

import torch
from sklearn.metrics import roc_auc_score

import reference
from baselines.language_models import pretrained
from baselines.reinforcement.policy_gradient import token_entropy
from baselines.reinforcement.pretrained_policies import PretrainedPolicy
from baselines.text_generation import chat
from baselines.text_reading import encoded
from suites.ares.method import high_windows, listed_entropy, own_percentile, window_entropy

MODEL = "smollm2-135m-instruct-q4_1"
WINDOWS = (1, 2, 4, 8)


def last_number(text: str) -> str:
    """The answer of a solution in words: its last number, or nothing."""
    found = re.findall(r"\d+(?:\.\d+)?", text.replace(",", ""))
    return found[-1] if found else ""


@torch.no_grad()
def resampling(*, seed: int, texts: int, places: int, draws: int, tokens: int) -> dict[str, float]:
    """`texts` solutions of at most `tokens` tokens at temperature 1 to questions of GSM8K's test part; `places` places.

    At a place with eight tokens after it `draws` tokens are drawn from the model, and each that differs is continued
    with the likeliest ones, as is the one that stands there. How many of the draws end in another last number is what
    the entropy of the token, and of the next 1, 2, 4 and 8, is to foretell: areas under the ROC curve for at least
    half. `lead` is that of the window of 4 less that of the token. Also the share of tokens above the median of their
    95th percentiles, where these are taken without what is not listed (`mixed_share`), and with it (`same_share`).
    """
    model, tokenizer = pretrained(MODEL)
    pad, end = int(tokenizer.pad_token_id), int(tokenizer.eos_token_id)
    generator = torch.Generator().manual_seed(seed)
    problems = reference.load("gsm8k", "test")
    asked = torch.randperm(len(problems), generator=generator)[:texts].tolist()
    rows = [encoded(tokenizer, chat(tokenizer, problems[number].question), True) for number in asked]
    width = max(map(len, rows))
    prompts = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    policy = PretrainedPolicy(model, pad=pad, end=end, max_tokens=tokens)
    actions, mask = policy.sample(prompts, generator)
    logs = policy.logits(prompts, actions).log_softmax(-1)
    entropy = token_entropy(logs)
    windows = {size: window_entropy(entropy, mask, window=size) for size in WINDOWS}
    row, at = (windows[8] > -torch.inf).nonzero().T
    chosen = torch.randperm(len(row), generator=generator)[:places]
    row, at = row[chosen], at[chosen]
    drawn = torch.multinomial(logs[row, at].exp(), draws, replacement=True, generator=generator)

    changed = []
    for number, place, others in zip(row.tolist(), at.tolist(), drawn, strict=True):
        stands = int(actions[number, place])
        first = torch.tensor([stands, *sorted({*others.tolist()} - {stands})])
        before = torch.cat([prompts[number], actions[number, :place]])
        begun = torch.cat([before.expand(len(first), -1), first[:, None]], 1)
        policy.max_tokens = tokens - place - 1
        after, there = policy.sample(begun, generator, temperature=0.0)
        there = there & (first != end)[:, None]
        ends = {
            token: last_number(str(tokenizer.decode([*begun[k, width:].tolist(), *after[k][there[k]].tolist()])))
            for k, token in enumerate(first.tolist())
        }
        changed.append(sum(ends[token] != ends[stands] for token in others.tolist()) / draws)
    change = torch.tensor(changed)
    forked = (change >= 0.5).numpy()
    found = {"token": float(roc_auc_score(forked, entropy[row, at].numpy()))}
    found |= {f"window_{size}": float(roc_auc_score(forked, one[row, at].numpy())) for size, one in windows.items()}

    listed = logs.topk(10, -1).values
    counted, bare = (window_entropy(listed_entropy(listed, tail=tail), mask) for tail in (True, False))
    shares = {
        name: float(high_windows(counted, mask, float(own_percentile(one, mask).nanmedian()))[0].sum() / mask.sum())
        for name, one in (("same_share", counted), ("mixed_share", bare))
    }
    return {**found, **shares, "lead": found["window_4"] - found["token"], "forks": float(forked.mean())}
