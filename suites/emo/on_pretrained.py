"""Pretrained language models trained on with each loss: GPT-2 as the paper has it, SmolLM2 where there is no GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from baselines.corpora import TEXTS
from baselines.language_models import next_token_logits, pretrained
from baselines.ngram_distances import ngram_divergence
from baselines.text_generation import sample
from suites.emo.contenders import LOSSES, SCORES, sums_of_scores
from suites.emo.on_wikitext import mean_cost, temperature_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RATE = 5e-5
PREFIX, WRITTEN = 32, 80
"""Tokens that are given and drawn."""
ROWS_AT_ONCE = 4
"""Rows whose logits, of 50,000 tokens a place, are in memory together."""


def gpt2(*, arm: str, seed: int, device: torch.device, texts: int) -> dict[str, float]:
    """GPT-2 small, one epoch of WikiText-2 in blocks of 256 tokens, 32 a step; `texts` are written for the bigrams."""
    return trained_on_pretrained("gpt2", "wikitext-2", arm, seed, device, length=256, batch=32, texts=texts)


def smollm2(*, arm: str, seed: int, device: torch.device, steps: int, layers: int, scored: int) -> dict[str, float]:
    """SmolLM2-135M-Instruct, its last `layers` blocks alone, `steps` of two rows of 64 tokens; scores of some rows."""
    return trained_on_pretrained(
        "smollm2-135m-instruct-q4_1", "wikitext-2-heldout", arm, seed, device, length=64, batch=2, steps=steps,
        layers=layers, scored=scored,
    )  # fmt: skip


def trained_on_pretrained(
    model: str, text: str, arm: str, seed: int, device: torch.device, *, length: int, batch: int,
    steps: int | None = None, layers: int | None = None, scored: int | None = None, texts: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Scores on the test part, in nats and shares, and the divergence of written bigrams from it.

    mle_matched is mle, written at the temperature where its mean entropy on the validation part is that of emo.
    """
    train, *others = TEXTS[text]()

    tokenizer = pretrained(model)[1]

    def tuned(name: str) -> tuple[PreTrainedModel, torch.Tensor]:
        network = pretrained(model)[0]
        network.to(device)  # type: ignore[arg-type]
        costs = network.get_output_embeddings().weight.detach().clone()
        rows = rows_of(tokenizer, train, length).to(device)
        fine_tune(network, rows, name, costs, seed=seed, batch=batch, steps=steps, layers=layers)
        return network.eval(), costs

    validation, test = (rows_of(tokenizer, part, length)[:scored].to(device) for part in others)
    network, costs = tuned(arm.removesuffix("_matched"))
    temperature = 1.0
    if arm == "mle_matched":
        wanted = scores(tuned("emo")[0], validation, costs)["entropy"]
        temperature = temperature_of(lambda at: scores(network, validation, costs, at)["entropy"], wanted)
    found = scores(network, test, costs) | {"temperature": temperature}
    found["mean_cost"], found["spread_of_costs"] = mean_cost(costs).tolist()
    if texts:
        prompts = [str(tokenizer.decode(row)) for row in test[:texts, :PREFIX]]
        generator = torch.Generator(device).manual_seed(seed)
        written = sample(
            network, tokenizer, prompts, max_tokens=WRITTEN, generator=generator, temperature=temperature,
            batch_size=64,
        )  # fmt: skip
        end_to_end = torch.cat([one.tokens for one in written])[None]
        found["divergence"] = ngram_divergence(end_to_end, test.cpu(), len(costs), 2)
    return found


def rows_of(tokenizer: PreTrainedTokenizerBase, text: str, length: int) -> torch.Tensor:
    """The text in rows of `length` tokens, without end tokens, the incomplete last one left out."""
    tokens = torch.tensor(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)
    return tokens[: len(tokens) // length * length].view(-1, length)


def fine_tune(
    network: nn.Module, rows: torch.Tensor, arm: str, costs: torch.Tensor, *, seed: int, batch: int,
    steps: int | None, layers: int | None,
) -> None:  # fmt: skip
    """One epoch, or `steps`, of AdamW without decay, the rate falling to 0 in a line: all weights, or last blocks."""
    if layers is not None:
        network.requires_grad_(False)
        blocks = next(one for one in network.modules() if isinstance(one, nn.ModuleList))
        blocks[-layers:].requires_grad_()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    batches = order[: len(order) // batch * batch].view(-1, batch)[:steps]
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0)
    line = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, len(batches))
    network.train()
    with torch.random.fork_rng([rows.device] if rows.is_cuda else []):
        torch.manual_seed(seed)  # dropout
        for places in batches:
            optimizer.zero_grad()
            for part in rows[places.to(rows.device)].split(ROWS_AT_ONCE):
                logits = next_token_logits(network, part)[:, :-1].flatten(0, 1).float()
                (LOSSES[arm](logits, part[:, 1:].flatten(), costs) * len(part) / batch).backward()
            optimizer.step()
            line.step()


@torch.no_grad()
def scores(network: nn.Module, rows: torch.Tensor, costs: torch.Tensor, temperature: float = 1.0) -> dict[str, float]:
    """Means over all tokens but the first of each row: nats, DEMD, entropy in nats, share of hits."""
    sums = torch.zeros(len(SCORES), dtype=torch.float64)
    for part in rows.split(ROWS_AT_ONCE):
        log_q = (next_token_logits(network, part)[:, :-1].flatten(0, 1).float() / temperature).log_softmax(1)
        sums += sums_of_scores(log_q, part[:, 1:].flatten(), costs).cpu()
    return dict(zip(SCORES, (sums / rows[:, 1:].numel()).tolist(), strict=True))
