"""MRPC with BERT: whether two sentences say the same. Needs transformers (`crossexam[models]`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

import reference
from baselines.training import Batch, Objective, Schedule, fit, step_count
from reference.text import TextPairs
from suites.dice_loss.contenders import with_bert

Data = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Recipe:
    """How BERT is fine-tuned: AdamW, a linear rise and a linear fall, gradient norm at most 1."""

    rate: float
    batch: int  # examples of one loss
    epochs: int
    dropout: float
    decay: float
    warmup: float  # share of the steps
    accumulate: int = 1  # losses whose mean makes one step
    focal_gamma: float = 2.0


COMMON = Recipe(rate=3e-5, batch=24, epochs=5, dropout=0.1, decay=0.01, warmup=0.1)
SCRIPTS = {
    ("base", "ce"): Recipe(2e-5, 24, 3, 0.1, 0.01, 0.1),
    ("base", "focal"): Recipe(3e-5, 38, 3, 0.1, 0.002, 0.1),
    ("base", "dice"): Recipe(3e-5, 20, 5, 0.2, 0.003, 0.002),
    ("large", "ce"): Recipe(2e-5, 16, 3, 0.1, 0.002, 0.1, accumulate=2),
    ("large", "focal"): Recipe(2e-5, 16, 3, 0.1, 0.002, 0.1, accumulate=2, focal_gamma=3.0),
    ("large", "dice"): Recipe(2e-5, 12, 5, 0.1, 0.001, 0.06),
}
"""What the headers and settings of the scripts say."""


class PairClassifier(nn.Module):
    """BERT, dropout and a linear layer on its pooled first token. (B, 3, T) -> (B,) or (B, 2).

    The three rows are token ids, token types and the attention mask.
    """

    def __init__(self, model: str, outputs: int, dropout: float) -> None:
        super().__init__()
        self.bert = load(model, dropout)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(self.bert.config.hidden_size, outputs)
        nn.init.normal_(self.out.weight, std=self.bert.config.initializer_range)
        nn.init.zeros_(self.out.bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        ids, types, attended = inputs.unbind(1)
        pooled = self.bert(input_ids=ids, token_type_ids=types, attention_mask=attended).pooler_output
        return self.out(self.dropout(pooled)).squeeze(1)


def load(model: str, dropout: float) -> nn.Module:
    """A pretrained BERT of the catalogue."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(
        reference.load(model), hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, local_files_only=True
    )


def mrpc(
    *,
    arm: str,
    seed: int,
    device: torch.device,
    model: str,
    setting: str,
    epochs: int | None = None,
    limit: int | None = None,
    length: int = 128,
) -> dict[str, float]:
    """Paraphrases by one recipe for all losses ("matched"), or by that of each of the paper's scripts.

    Fine-tune, look at the validation pairs four times an epoch, and report the state of their best F1.

    `limit` takes that many pairs of each part and `epochs` replaces that of the recipe, both for a smaller run.
    """
    recipe = COMMON if setting == "matched" else SCRIPTS["large" if "large" in model else "base", arm]
    recipe = replace(recipe, epochs=epochs or recipe.epochs)
    parts = {
        part: tokenised(reference.load("glue-mrpc", part), model, length, limit, device)
        for part in ("train", "val", "test")
    }
    torch.manual_seed(seed)
    network = PairClassifier(model, 1 if arm == "dice" else 2, recipe.dropout).to(device)
    loss = with_bert(arm, recipe.focal_gamma)

    def look(network: nn.Module) -> dict[str, float]:
        scores = {part: classified(network, parts[part], recipe.batch) for part in ("val", "test")}
        return {f"{part}_{name}": value for part, found in scores.items() for name, value in found.items()}

    return tune(
        network, parts["train"], recipe, seed, lambda network, inputs, gold: loss(network(inputs), gold), look,
        every=math.ceil(len(parts["train"][1]) / (recipe.batch * recipe.accumulate) / 4), by="val_f1",
    )  # fmt: skip


class Watched:
    """An objective that looks at the model every `every` steps, and remembers what it saw at its best."""

    def __init__(
        self, objective: Objective, every: int, look: Callable[[nn.Module], dict[str, float]], by: str
    ) -> None:
        self.objective, self.every, self.look, self.by = objective, every, look, by
        self.steps, self.best, self.step_of_best = 0, dict[str, float](), 0

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        if self.steps and self.steps % self.every == 0:
            self.look_at(model)
        self.steps += 1
        return self.objective(model, batch)

    def look_at(self, model: nn.Module) -> None:
        """Look now; the model is in training mode afterwards."""
        model.eval()
        with torch.no_grad():
            seen = self.look(model)
        model.train()
        if not self.best or seen[self.by] > self.best[self.by]:
            self.best, self.step_of_best = seen, self.steps


def tune(
    network: nn.Module,
    data: Data,
    recipe: Recipe,
    seed: int,
    loss: Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor],
    look: Callable[[nn.Module], dict[str, float]],
    *,
    every: int,
    by: str,
    precision: torch.dtype | None = None,
) -> dict[str, float]:
    """Fine-tune in place, look every so many steps, and return what was seen at the highest `by`, and at which step.

    A step follows the mean of the losses of `recipe.accumulate` batches.
    """

    def objective(network: nn.Module, batch: Batch) -> torch.Tensor:
        pieces = zip(batch.inputs.split(recipe.batch), batch.targets.split(recipe.batch), strict=True)
        return torch.stack([loss(network, inputs, gold) for inputs, gold in pieces]).mean()

    watched, size = Watched(objective, every, look, by), min(recipe.batch * recipe.accumulate, len(data[1]))
    plain = [p for name, p in network.named_parameters() if name.endswith("bias") or "LayerNorm" in name]
    ids = {id(p) for p in plain}
    fit(
        network, *data, watched, epochs=recipe.epochs, batch_size=size, drop_last=False, seed=seed,
        optimizer=lambda parameters: torch.optim.AdamW(
            [{"params": [p for p in parameters if id(p) not in ids], "weight_decay": recipe.decay},
             {"params": plain, "weight_decay": 0.0}], lr=recipe.rate, eps=1e-8,
        ),
        schedule=rise_and_fall(step_count(len(data[1]), size, recipe.epochs, drop_last=False), recipe.warmup),
        clip_norm=1.0, precision=precision,
    )  # fmt: skip
    watched.look_at(network)
    return {**watched.best, "step": float(watched.step_of_best)}


def rise_and_fall(steps: int, warmup: float) -> Schedule:
    """A linear rise over a share of the steps, then a linear fall."""
    rising = int(warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        return max(0.0, (steps - step) / max(1, steps - rising))

    return lambda optimizer: LambdaLR(optimizer, factor)


def tokenised(pairs: TextPairs, model: str, length: int, limit: int | None, device: torch.device) -> Data:
    """int64 (N, 3, length) and labels."""
    from transformers import AutoTokenizer

    tokeniser = AutoTokenizer.from_pretrained(reference.load(model), local_files_only=True)
    encoded = tokeniser(
        list(pairs.first[:limit]), list(pairs.second[:limit]), padding="max_length", truncation=True, max_length=length,
        return_tensors="pt",
    )  # fmt: skip
    rows = torch.stack([encoded[name] for name in ("input_ids", "token_type_ids", "attention_mask")], dim=1)
    return rows.to(device), torch.tensor(pairs.labels[:limit]).to(device)


def classified(network: nn.Module, data: Data, batch: int) -> dict[str, float]:
    """F1 of the paraphrases and accuracy, in percent."""
    from sklearn.metrics import accuracy_score, f1_score

    logits = torch.cat([network(inputs) for inputs in data[0].split(batch)])
    guess = (logits > 0 if logits.dim() == 1 else logits[:, 1] > logits[:, 0]).cpu()
    gold = data[1].cpu()
    return {
        "f1": 100 * float(f1_score(gold, guess, zero_division=0.0)),
        "accuracy": 100 * float(accuracy_score(gold, guess)),
    }
