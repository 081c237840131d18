"""Texts from pretrained causal models: sampling with a key-value cache, the model's chat format, fine-tuning by LoRA.

    model, tokenizer = pretrained("smollm2-135m-instruct-q4_1")
    prompts = [chat(tokenizer, question) for question in ("What is 3 + 4?", "Name a colour.")]
    generator = torch.Generator().manual_seed(0)
    for answer in sample(model, tokenizer, prompts, max_tokens=40, generator=generator, top_p=0.95):
        print(answer.text, answer.log_probs.sum())

Policies of reinforcement learning sample for themselves (`reinforcement.pretrained_policies`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from baselines.reinforcement.policies import draw
from baselines.text_reading import encoded

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sampled:
    """What a model wrote after one prompt. `text` is without the stop that ended it; `tokens` have all of it."""

    text: str
    tokens: torch.Tensor  # int64 (T,)
    log_probs: torch.Tensor  # of each token under the model itself, at temperature 1 and untruncated, float32 (T,)
    ended: bool
    """Whether it came to an end of its own (an end token or a stop) and not to `max_tokens`."""


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_tokens: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_p: float = 1.0,
    stops: Collection[str] = (),
    batch_size: int = 16,
) -> list[Sampled]:
    """One continuation of each prompt, in batches that are padded on the left, with a key-value cache.

    temperature: 0 takes the likeliest token. top_p: only the likeliest tokens whose probabilities, at the temperature,
    sum to at least this are drawn from. stops: texts that end a continuation, beside the model's end token. The
    generator lies on the model's device; the same one gives the same texts for the same batches. Raises ValueError for
    an empty prompt, an empty stop, and numbers out of their range.
    """
    if not 0 < top_p <= 1 or max_tokens < 1 or temperature < 0 or "" in stops:
        raise ValueError(
            f"top_p is in (0, 1], max_tokens >= 1, temperature >= 0, stops are not empty; got {top_p}, {max_tokens}, "
            f"{temperature}, {sorted(stops)}"
        )
    rows = [encoded(tokenizer, prompt, True) for prompt in prompts]
    if empty := [place for place, row in enumerate(rows) if not row]:
        raise ValueError(f"prompt {empty[0]} has no tokens")
    found: list[Sampled] = []
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        found += _continued(model, tokenizer, part, max_tokens, generator, temperature, top_p, tuple(stops))
    return found


def _continued(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[list[int]],
    max_tokens: int,
    generator: torch.Generator,
    temperature: float,
    top_p: float,
    stops: tuple[str, ...],
) -> list[Sampled]:
    width, device = max(map(len, rows)), next(model.parameters()).device
    tokens = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
    seen = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    ends = torch.tensor(end_tokens(model), device=device)
    going = [True] * len(rows)
    written: list[list[int]] = [[] for _ in rows]
    logs: list[list[float]] = [[] for _ in rows]
    cache = None
    for _ in range(max_tokens):
        places = (seen.cumsum(1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
        out = model(
            input_ids=tokens, attention_mask=seen, position_ids=places, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        cache, logits = out.past_key_values, out.logits[:, -1].float()
        drawn = draw(nucleus(logits, temperature, top_p), generator, temperature)
        log_probs = logits.log_softmax(-1).gather(1, drawn[:, None]).squeeze(1)
        ended = torch.isin(drawn, ends).tolist()
        for row, (token, log_prob) in enumerate(zip(drawn.tolist(), log_probs.tolist(), strict=True)):
            if going[row]:
                written[row].append(token)
                logs[row].append(log_prob)
                going[row] = not ended[row] and _cut(str(tokenizer.decode(written[row])), stops) is None
        if not any(going):
            break
        tokens, seen = drawn[:, None], F.pad(seen, (0, 1), value=1)
    texts = [str(tokenizer.decode(one, skip_special_tokens=True)) for one in written]
    cuts = [_cut(text, stops) for text in texts]
    return [
        Sampled(text if cut is None else text[:cut], torch.tensor(one), torch.tensor(scores), not open_ended)
        for text, cut, one, scores, open_ended in zip(texts, cuts, written, logs, going, strict=True)
    ]


def _cut(text: str, stops: tuple[str, ...]) -> int | None:
    """Where the first of the stops begins."""
    return min((place for stop in stops if (place := text.find(stop)) >= 0), default=None)


def end_tokens(model: PreTrainedModel) -> list[int]:
    """The tokens that end what the model writes, from its configuration."""
    found = model.config.eos_token_id
    return [] if found is None else list(found) if isinstance(found, list | tuple) else [found]


def nucleus(logits: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """-inf for every token but the likeliest whose probabilities at the temperature sum to at least top_p: (B, V)."""
    if top_p == 1 or temperature == 0:
        return logits
    ordered, places = (logits / temperature).softmax(-1).sort(-1, descending=True)
    beyond = ordered.cumsum(-1) - ordered >= top_p  # what comes before a token suffices already
    return logits.masked_fill(beyond.scatter(-1, places, beyond), -torch.inf)


def chat(tokenizer: PreTrainedTokenizerBase, message: str, *, system: str | None = None) -> str:
    """The prompt of a user's message in the format that the model was tuned on, up to where its answer begins.

    system: the instruction before it, else the template's own. Raises ValueError for a tokenizer without a template.
    """
    if not tokenizer.chat_template:
        raise ValueError("this tokenizer has no chat template: its model was not tuned on conversations")
    before = [] if system is None else [{"role": "system", "content": system}]
    conversation = [*before, {"role": "user", "content": message}]
    return str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))


def lora(
    model: PreTrainedModel,
    *,
    rank: int = 8,
    alpha: int = 16,
    layers: Collection[str] | str = "all-linear",
    seed: int = 0,
) -> PeftModel:
    """The model with trained updates W + alpha / rank B A of its linear layers, all else frozen (LoRA, Hu et al. 2021).

    In place: B begins at zero, so that the outputs stay as they are. layers: last names of modules such as "q_proj", or
    all but the output layer. `merge_and_unload()` gives the plain model back, with the updates in its weights. Needs
    peft (`crossexam[language]`).
    """
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        target = layers if isinstance(layers, str) else sorted(layers)
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules=target, task_type="CAUSAL_LM"))
