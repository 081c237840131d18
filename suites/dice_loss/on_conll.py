"""CoNLL-2003 as reading comprehension: what answers the question for a type of entity? Needs transformers.

One example is a question and a sentence. Three heads on BERT's tokens say where an entity of that type starts, where
one ends, and whether a start and an end belong together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

import reference
from baselines.tagging import PADDING_TAG, span_f1, spans
from reference.tagged import Sentence
from suites.dice_loss.contenders import Loss, with_bert
from suites.dice_loss.on_mrpc import Recipe, load, tune

QUESTIONS = {
    "ORG": "Find the organisations: companies, governments, teams, institutions and other named bodies.",
    "PER": "Find the persons: names of people, of families and of characters.",
    "LOC": "Find the locations: cities, countries, regions, mountains, waters and other named places.",
    "MISC": "Find other names: nationalities, religions, events, works of art, products.",
}
"""What annotators are told about each type, in a sentence."""
RECIPE = Recipe(rate=3e-5, batch=36, epochs=10, dropout=0.2, decay=0.01, warmup=0.01, accumulate=8)
WEIGHTS = (1.0, 1.0, 0.3)
"""Of starts, ends and matches."""


class SpanReader(nn.Module):
    """BERT and its heads. (B, 3, T) -> start logits (B, T), end logits (B, T), tokens (B, T, width) for `match`."""

    def __init__(self, model: str, dropout: float) -> None:
        super().__init__()
        self.bert = load(model, dropout)
        self.bert.gradient_checkpointing_enable()  # a step holds eight batches of 36 sequences
        self.dropout = nn.Dropout(dropout)
        width = self.bert.config.hidden_size
        self.starts, self.ends = _head(width, dropout), _head(width, dropout)
        self.matches = _head(2 * width, dropout)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ids, types, attended = inputs.unbind(1)
        tokens = self.bert(input_ids=ids, token_type_ids=types, attention_mask=attended).last_hidden_state
        tokens = self.dropout(tokens)
        return self.starts(tokens).squeeze(-1), self.ends(tokens).squeeze(-1), tokens

    def match(self, tokens: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        """Logits (P,) of pairs int64 (P, 3): row, start, end."""
        row, start, end = pairs.unbind(1)
        return self.matches(torch.cat([tokens[row, start], tokens[row, end]], dim=1)).squeeze(-1)


def _head(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1))


def conll2003_imbalance() -> dict[str, float]:
    """Words outside entities for each word inside, in the training part."""
    tags = [tag for sentence in reference.load("conll2003", "train").sentences for tag in sentence.tags]
    outside = sum(tag == "O" for tag in tags)
    return {"ratio": outside / (len(tags) - outside)}


def conll2003_mrc(
    *,
    arm: str,
    seed: int,
    device: torch.device,
    model: str,
    epochs: int | None = None,
    limit: int | None = None,
    length: int = 256,
) -> dict[str, float]:
    """Fine-tune, look at the validation sentences four times an epoch, and report the best of them, in percent.

    `limit` takes that many sentences of each part and `epochs` replaces that of the recipe, both for a smaller run.
    """
    from transformers import AutoTokenizer

    recipe = replace(RECIPE, epochs=epochs or RECIPE.epochs)
    tokeniser = AutoTokenizer.from_pretrained(reference.load(model), local_files_only=True)
    found = {part: reference.load("conll2003", part).sentences[:limit] for part in ("train", "val", "test")}
    asked = {part: Asked(sentences, tokeniser, length, device) for part, sentences in found.items()}
    torch.manual_seed(seed)
    network, loss = SpanReader(model, recipe.dropout).to(device), with_bert(arm)

    def look(network: nn.Module) -> dict[str, float]:
        return {f"{part}_f1": 100 * asked[part].score(network, recipe.batch) for part in ("val", "test")}

    data = asked["train"].inputs, asked["train"].targets
    steps = math.ceil(len(data[0]) / (recipe.batch * recipe.accumulate))
    return tune(
        network, data, recipe, seed, lambda network, inputs, targets: _loss(network, loss, inputs, targets), look,
        every=max(1, steps // 4), by="val_f1", precision=torch.bfloat16,
    )  # fmt: skip


def _loss(network: Any, loss: Loss, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    starts, ends, tokens = network(inputs)
    words = targets[:, 0] >= 0
    total = WEIGHTS[0] * loss(starts[words].float(), targets[:, 0][words])
    total = total + WEIGHTS[1] * loss(ends[words].float(), targets[:, 1][words])
    gold = gold_pairs(targets)
    pairs = torch.cat([gold, candidates(starts, ends, words)]).unique(dim=0)
    if not len(pairs):
        return total
    true = (pairs[:, None] == gold[None]).all(2).any(1).long()
    return total + WEIGHTS[2] * loss(network.match(tokens, pairs).float(), true)


def gold_pairs(targets: torch.Tensor) -> torch.Tensor:
    """int64 (P, 3): row, start, end. Entities of one type do not overlap: the i-th start goes with the i-th end."""
    starts, ends = ((targets[:, part] == 1).nonzero() for part in (0, 1))
    return torch.cat([starts, ends[:, 1:]], dim=1)


def candidates(starts: torch.Tensor, ends: torch.Tensor, words: torch.Tensor, most: int = 2000) -> torch.Tensor:
    """Pairs of a predicted start and a predicted end at or after it, int64 (P, 3); the first `most`."""
    begins, stops = (starts > 0) & words, (ends > 0) & words
    pairs = begins[:, :, None] & stops[:, None, :]
    return pairs.triu().nonzero()[:most]


class Asked:
    """Sentences with a question for each type, as tensors, and how answers are scored."""

    def __init__(self, sentences: Sequence[Sentence], tokeniser: Any, length: int, device: torch.device) -> None:
        self.sentences = sentences
        self.keys = [(row, kind) for row in range(len(sentences)) for kind in QUESTIONS]
        encoded = tokeniser(
            [QUESTIONS[kind].split() for _, kind in self.keys],
            [list(sentences[row].words) for row, _ in self.keys],
            is_split_into_words=True, padding="max_length", truncation="only_second", max_length=length,
            return_tensors="pt",
        )  # fmt: skip
        rows = torch.stack([encoded[name] for name in ("input_ids", "token_type_ids", "attention_mask")], dim=1)
        targets = torch.full((len(rows), 2, length), PADDING_TAG)
        self.first_piece: list[dict[int, int]] = []  # token -> word, of the tokens that begin a word
        for example, (row, kind) in enumerate(self.keys):
            places: dict[int, int] = {}
            pieces = zip(encoded.word_ids(example), encoded.sequence_ids(example), strict=True)
            for token, (word, part) in enumerate(pieces):
                if part == 1 and word not in places:
                    places[word] = token
            self.first_piece.append({token: word for word, token in places.items()})
            targets[example, :, list(places.values())] = 0
            for name, start, end in spans(sentences[row].tags):
                if name == kind and start in places and end - 1 in places:
                    targets[example, 0, places[start]] = targets[example, 1, places[end - 1]] = 1
        self.inputs, self.targets = rows.to(device), targets.to(device)

    def score(self, network: Any, batch: int) -> float:
        """Micro F1 of spans, in [0, 1]; where answers to several questions overlap, the surest match stays."""
        answers: dict[int, list[tuple[float, str, int, int]]] = defaultdict(list)
        for examples in torch.arange(len(self.inputs)).split(batch):
            starts, ends, tokens = network(self.inputs[examples])
            pairs = candidates(starts, ends, self.targets[examples, 0] >= 0)
            if len(pairs):
                scores = network.match(tokens, pairs).tolist()
                for (inside, start, end), score in zip(pairs.tolist(), scores, strict=True):
                    row, kind = self.keys[int(examples[inside])]
                    place = self.first_piece[int(examples[inside])]
                    if score > 0:
                        answers[row].append((score, kind, place[start], place[end]))
        guess = [tagged(len(sentence), answers[row]) for row, sentence in enumerate(self.sentences)]
        return span_f1([sentence.tags for sentence in self.sentences], guess)


def tagged(length: int, answers: Sequence[tuple[float, str, int, int]]) -> list[str]:
    """IOB2 tags of answers (score, type, first word, last word): the surest first, what overlaps them left out."""
    tags = ["O"] * length
    for _, kind, first, last in sorted(answers, reverse=True):
        if all(tag == "O" for tag in tags[first : last + 1]):
            tags[first : last + 1] = [f"B-{kind}", *[f"I-{kind}"] * (last - first)]
    return tags
