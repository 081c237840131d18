"""Published language models as policies, and mathematical problems in words for them. Needs `crossexam[models]`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from baselines.reinforcement.policies import LanguagePolicy, Sampled
from baselines.reinforcement.problems import Problems
from reference.text import Problem, boxed

INSTRUCTION = (
    "Solve the following math problem step by step. The last line of your response should be of the form "
    "Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n{question}"
)


class Tokenizer(Protocol):
    """What is used of a tokeniser of transformers."""

    pad_token_id: int
    eos_token_id: int

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...

    def decode(self, token_ids: Any, **options: Any) -> str: ...


class PretrainedPolicy(LanguagePolicy):
    """A causal language model of transformers, in float32 with bfloat16 arithmetic on CUDA.

    Samples `rows` responses at a time, for the memory of their key-value cache. Padding on the left of a prompt is
    masked; what stands after the end of a response is seen by nothing before it.
    """

    def __init__(self, model: nn.Module, *, pad: int, end: int, max_tokens: int, rows: int = 64) -> None:
        super().__init__()
        self.model, self.pad, self.end, self.max_tokens, self.rows = model, pad, end, max_tokens, rows

    def _forward(self, tokens: torch.Tensor, seen: torch.Tensor, **options: Any) -> Any:
        mixed = torch.autocast("cuda", torch.bfloat16) if tokens.is_cuda else contextlib.nullcontext()
        with mixed:
            return self.model(input_ids=tokens, attention_mask=seen, **options)

    def _seen(self, tokens: torch.Tensor) -> torch.Tensor:
        return ((tokens != self.pad).cumsum(-1) > 0).long()

    def begin(self, prompts: torch.Tensor) -> tuple[torch.Tensor, Any]:
        seen = self._seen(prompts)
        out = self._forward(prompts, seen, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1].float(), (out.past_key_values, seen)

    def step(self, tokens: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        cache, seen = state
        seen = F.pad(seen, (0, 1), value=1)
        out = self._forward(tokens[:, None], seen, past_key_values=cache, use_cache=True)
        return out.logits[:, -1].float(), (out.past_key_values, seen)

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        return self._forward(tokens, self._seen(tokens), use_cache=False).logits.float()

    @torch.no_grad()
    def sample(self, prompts: torch.Tensor, generator: torch.Generator, temperature: float = 1.0) -> Sampled:
        parts = [
            super(PretrainedPolicy, self).sample(part, generator, temperature) for part in prompts.split(self.rows)
        ]
        width = max(actions.shape[1] for actions, _ in parts)
        padded = [
            (F.pad(actions, (0, width - actions.shape[1]), value=self.end), F.pad(mask, (0, width - mask.shape[1])))
            for actions, mask in parts
        ]
        actions, mask = zip(*padded, strict=True)
        return torch.cat(actions), torch.cat(mask)


def word_problems(
    problems: Sequence[Problem], tokenizer: Tokenizer, *, longest: int, template: str = "{question}"
) -> Problems:
    """Prompts in the model's chat format, those of more than `longest` tokens left out; answers by `answered`."""
    kept, answers = [], []
    for problem in problems:
        message = {"role": "user", "content": template.format(question=problem.question)}
        tokens = tokenizer.apply_chat_template([message], add_generation_prompt=True, tokenize=True, return_dict=False)
        if len(tokens) <= longest:
            kept.append(list(tokens))
            answers.append(problem.answer)
    if not kept:
        raise ValueError(f"no problem has a prompt of at most {longest} tokens")
    width = max(map(len, kept))
    prompts = torch.tensor([[tokenizer.pad_token_id] * (width - len(one)) + one for one in kept])

    def verify(actions: torch.Tensor, mask: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        texts = [tokenizer.decode(row[kept], skip_special_tokens=True) for row, kept in zip(actions, mask, strict=True)]
        right = [answered(text, answers[number]) for text, number in zip(texts, numbers.tolist(), strict=True)]
        return torch.tensor(right, device=actions.device)

    return Problems(prompts, torch.arange(len(kept)), verify)


def answered(text: str, answer: str) -> bool:
    r"""Whether the last `Answer:` line, or else the last \boxed{...}, is the answer: equal numbers, or equal texts."""
    lines = re.findall(r"(?i)answer\s*:\s*([^\n]+)", text)
    found = lines[-1] if lines else boxed(text)
    return found is not None and _normal(found) == _normal(answer)


def _normal(answer: str) -> str:
    answer = answer.strip()
    if (inside := boxed(answer)) is not None:
        answer = inside
    for noise in ("\\left", "\\right", "\\!", "\\,", "$", " ", "\\text", "**"):
        answer = answer.replace(noise, "")
    answer = answer.replace("dfrac", "frac").replace("tfrac", "frac").rstrip(".")
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", answer)
    try:
        return f"{float(plain):.10g}"
    except ValueError:
        return plain
