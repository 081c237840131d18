"""Tagging with a small BiLSTM from scratch: parts of speech (English EWT), named entities (Dutch CoNLL-2002)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

import reference
from baselines.tagging import BiLstmTagger, Vocabulary, encode_tags, span_f1
from baselines.training import Batch, fit
from baselines.tuning import choose
from reference.tagged import Sentence
from suites.dice_loss.contenders import by_arm

Tensors = dict[str, torch.Tensor]

RATES = (3e-3, 1e-3, 1e-2)
"""The learning rates that every arm tries; the first of equally good ones is taken."""
BLOCK = 32
"""Sentences of like length that make one batch."""
SIZES = {"train": 1280, "val": 400, "test": 800}
BIASES = torch.linspace(-3, 3, 13)
"""What may be added to the logit of O."""


@dataclass(frozen=True)
class Corpus:
    """Where its parts lie in `reference`, and its tags."""

    name: str
    train: str
    val: str
    test: str
    tagset: tuple[str, ...]
    entities: bool


ENTITIES = tuple(f"{prefix}-{kind}" for prefix in "BI" for kind in ("LOC", "MISC", "ORG", "PER"))
UPOS = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X"
CORPORA = {
    # The development part has sentences enough, and takes a tenth of the time to read.
    "ewt": Corpus("ud-english-ewt", "val", "val", "test", tuple(UPOS.split()), entities=False),
    "dutch": Corpus("conll2002", "ned-train", "ned-testa", "ned-testb", ("O", *ENTITIES), entities=True),
}


def sample(corpus: str, seed: int, sizes: Mapping[str, int], longest: int = 50) -> Tensors:
    """Sentences of at most `longest` words drawn by seed, as tensors.

    "sizes" (4,) of the vocabulary; of each part "x" (S, T, 4) and "y" (S, T); those of training are in blocks,
    (blocks, BLOCK, T, 4) and (blocks, BLOCK, T), longer ones later.
    """
    which, rng = CORPORA[corpus], np.random.default_rng(seed)
    drawn: dict[str, list[Sentence]] = {}
    left: dict[str, list[Sentence]] = {}  # of each part of the corpus, shuffled, what no part here has taken
    for part in ("train", "val", "test"):
        source = getattr(which, part)
        if source not in left:
            found = [sentence for sentence in reference.load(which.name, source).sentences if len(sentence) <= longest]
            left[source] = [found[row] for row in rng.permutation(len(found))]
        drawn[part], left[source] = left[source][: sizes[part]], left[source][sizes[part] :]
    drawn["train"].sort(key=len)
    vocabulary = Vocabulary.of(sentence.words for sentence in drawn["train"])
    tensors = {"sizes": torch.tensor(vocabulary.sizes)}
    for part, sentences in drawn.items():
        tensors[f"{part}_x"] = vocabulary.encode([sentence.words for sentence in sentences])
        tensors[f"{part}_y"] = encode_tags([sentence.tags for sentence in sentences], which.tagset)
    for name in ("train_x", "train_y"):
        tensors[name] = tensors[name].unflatten(0, (-1, BLOCK))
    return tensors


def tagging(*, arm: str, seed: int, corpus: str, epochs: int = 3, sizes: Mapping[str, int] = SIZES) -> dict[str, float]:
    """Train with every learning rate, keep the best on validation data, and measure it on the test sentences."""
    which, data = CORPORA[corpus], sample(corpus, seed, sizes)
    counts = torch.bincount(data["train_y"][data["train_y"] >= 0], minlength=len(which.tagset)).float()
    runs = {rate: _trained(arm, data, counts, rate, seed, epochs) for rate in RATES}
    val = {rate: outputs(model, data["val_x"]) for rate, model in runs.items()}
    scores = {rate: _score(which, logits, data["val_y"]) for rate, logits in val.items()}
    rate = choose(scores)
    logits, gold = outputs(runs[rate], data["test_x"]), data["test_y"]
    truth, guess = gold[gold >= 0], logits.argmax(2)[gold >= 0]
    found = {
        "accuracy": float((truth == guess).double().mean()),
        "macro_f1": macro_f1(guess, truth, len(which.tagset)),
        "val_score": scores[rate],
        "learning_rate": rate,
    }
    if which.entities:
        of_bias = [spans_f1(which.tagset, _biased(val[rate], bias), data["val_y"]) for bias in BIASES]
        bias = BIASES[int(np.argmax(of_bias))]
        found["span_f1"] = spans_f1(which.tagset, logits, gold)
        found["span_f1_tuned"] = spans_f1(which.tagset, _biased(logits, bias), gold)
        found["bias"] = float(bias)
        found["others_per_entity_word"] = float(counts[0] / counts[1:].sum())
    return found


def tagging_more(*, arm: str, seed: int, corpus: str, epochs: int, train: int, test: int) -> dict[str, float]:
    """The same on more sentences (full tier)."""
    return tagging(arm=arm, seed=seed, corpus=corpus, epochs=epochs, sizes={"train": train, "val": 800, "test": test})


def _trained(arm: str, data: Tensors, counts: torch.Tensor, rate: float, seed: int, epochs: int) -> BiLstmTagger:
    loss = by_arm(arm, counts)
    torch.manual_seed(seed)
    tagger = BiLstmTagger(data["sizes"].tolist(), len(counts))

    def objective(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        logits = model(batch.inputs[0])  # a batch of the loop is one block of sentences
        gold = batch.targets[0, :, : logits.shape[1]]
        return loss(logits[gold >= 0], gold[gold >= 0])

    fit(
        tagger, data["train_x"], data["train_y"], objective, epochs=epochs, batch_size=1, drop_last=False, seed=seed,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=rate), clip_norm=5.0,
    )  # fmt: skip
    return tagger


def outputs(tagger: BiLstmTagger, inputs: torch.Tensor) -> torch.Tensor:
    """Logits (S, T, tags), zero after the end of a sentence."""
    tagger.eval()
    logits = torch.zeros(*inputs.shape[:2], tagger.out.out_features)
    with torch.no_grad():
        for rows in torch.arange(len(inputs)).split(250):
            found = tagger(inputs[rows])
            logits[rows, : found.shape[1]] = found
    return logits


def _score(corpus: Corpus, logits: torch.Tensor, gold: torch.Tensor) -> float:
    """What the learning rate is chosen by: F1 of spans, or macro F1."""
    if corpus.entities:
        return spans_f1(corpus.tagset, logits, gold)
    return macro_f1(logits.argmax(2)[gold >= 0], gold[gold >= 0], len(corpus.tagset))


def macro_f1(guess: torch.Tensor, truth: torch.Tensor, tags: int) -> float:
    """The mean of the tags' F1, of all that occur in the truth."""
    from sklearn.metrics import f1_score

    labels = [tag for tag in range(tags) if (truth == tag).any()]
    return float(f1_score(truth, guess, labels=labels, average="macro", zero_division=0.0))


def spans_f1(tagset: Sequence[str], logits: torch.Tensor, gold: torch.Tensor) -> float:
    """Micro F1 of entities."""
    return span_f1(_named(tagset, gold, gold), _named(tagset, logits.argmax(2), gold))


def _named(tagset: Sequence[str], tags: torch.Tensor, gold: torch.Tensor) -> list[list[str]]:
    lengths = (gold >= 0).sum(1).tolist()
    return [[tagset[tag] for tag in row[:length]] for row, length in zip(tags.tolist(), lengths, strict=True)]


def _biased(logits: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The logits with `bias` added to that of O, the first tag."""
    return torch.cat([logits[..., :1] + bias, logits[..., 1:]], dim=-1)
