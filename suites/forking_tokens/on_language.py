"""Entropies of a pretrained language model's tokens: on solutions that it writes itself, and on text of others."""

from __future__ import annotations

import torch

import reference
from baselines.language_models import pretrained
from baselines.text_generation import chat, sample
from baselines.text_reading import read_texts
from suites.forking_tokens.method import profile

MODEL = "smollm2-135m-instruct-q4_1"


def skew(*, text: str, seed: int, texts: int, tokens: int) -> dict[str, float]:
    """`profile` of the entropies at temperature 1 before each token of `texts` texts, drawn by the seed.

    text: "solutions" to questions of GSM8K's test part, of at most `tokens` tokens, written by the model at temperature
    1; or "articles", the first 400 characters of paragraphs of held-out WikiText-2.
    """
    model, tokenizer = pretrained(MODEL)
    generator = torch.Generator().manual_seed(seed)
    if text == "solutions":
        problems = reference.load("gsm8k", "test")
        chosen = torch.randperm(len(problems), generator=generator)[:texts].tolist()
        prompts = [chat(tokenizer, problems[number].question) for number in chosen]
        written = [one.text for one in sample(model, tokenizer, prompts, max_tokens=tokens, generator=generator)]
    else:
        paragraphs = [line.strip() for line in reference.load("wikitext-2-heldout", "test").text.split("\n")]
        paragraphs = [line[:400] for line in paragraphs if len(line) > 400]
        written = [paragraphs[number] for number in torch.randperm(len(paragraphs), generator=generator)[:texts]]
        prompts = [""] * texts
    read = read_texts(model, tokenizer, written, prompts=prompts)
    entropies = read.entropies[read.mask]
    return {**profile(entropies), "tokens": float(len(entropies))}
