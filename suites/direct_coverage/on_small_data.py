"""Answers of one and of three labels: clothes or letters, with wrong labels among those trained on.

The probability of an answer is the product over its labels, so that pass@N is exact, without any sampling. All losses,
settings and rates are trained side by side (`baselines.stacked`): one start, and the same batches in the same order.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from baselines.label_noise import with_label_noise
from baselines.models import mlp
from baselines.small_data import Part, drawn, fashion, letters
from baselines.stacked import Stacked, train
from baselines.training import Batch, Fit
from suites.direct_coverage.contenders import LOSSES, RATES, TEMPERATURES, loss
from suites.direct_coverage.method import coverage, factor

NOISE = 0.4
"""The probability that a label to train or validate on becomes a uniform draw over all, itself included."""
WIDTH, BATCH, CLIP = 128, 50, 5.0
ROWS, HELD, TESTED = 1000, 500, 2000
LOOKS = (2, 5, 10, 20, 40, 60)
"""After how many epochs all models are looked at; the last is the end."""
EARLY = 5
N = (1, 16, 256)
TASKS = {"three-clothes": ("fashion-mnist", 3), "one-letter": ("letter", 1), "three-letters": ("letter", 3)}
"""What is looked at, and how many labels an answer has: of 1,000, 26 and 17,576 answers one is right."""


def parts(task: str, seed: int) -> tuple[Part, Part, Part, int]:
    """Answers to train, validate and test on, (n, T, d) and int64 (n, T), the former two noisy; how many labels."""
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    data, length = TASKS[task]
    classes = 10 if data == "fashion-mnist" else 26
    first, last = (fashion("train"), fashion("test")) if data == "fashion-mnist" else letters()
    (x, y), (x_test, y_test) = drawn(first, ROWS + HELD, seed), drawn(last, TESTED, seed)
    y = with_label_noise(y, "uniform", NOISE, classes=classes, seed=seed)
    held = len(y) // 3
    three = (x[held:], y[held:]), (x[:held], y[:held]), (x_test, y_test)
    found = [answers(*one, length, seed + place) for place, one in enumerate(three)]
    return found[0], found[1], found[2], classes


def answers(inputs: torch.Tensor, labels: torch.Tensor, length: int, seed: int) -> Part:
    """Each example by itself, or for longer answers half as many as there are examples, of random ones."""
    if length == 1:
        return inputs[:, None], labels[:, None]
    ids = torch.randint(len(labels), (len(labels) // 2, length), generator=torch.Generator().manual_seed(seed))
    return inputs[ids], labels[ids]


def swept(*, seed: int, task: str, epochs: int) -> dict[str, torch.Tensor]:
    """Every loss, setting and rate at every look (L), copies (C) in the order of `copies`.

    pass/validation and pass/test (L, C, 3) of N = 1, 16 and 256; confidence (L, C): the mean probability of the
    likeliest answer to a test question; switched_off (L, C): the share of training answers with F(16) below .1; and of
    cross-entropy at the end, tempered/validation and tempered/test (temperatures, rates, 3).
    """
    learnt, validation, test, classes = parts(task, seed)
    arms = copies()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        models = Stacked(mlp([learnt[0].shape[-1], WIDTH, classes]), len(arms))
    looks: list[dict[str, torch.Tensor]] = []

    def losses_of(models: nn.Module, batch: Batch) -> torch.Tensor:
        logits = models(batch.inputs.flatten(0, 1)).unflatten(1, batch.targets.shape)
        targets = batch.targets.repeat(len(RATES), 1)
        values = [  # of all rates at once
            loss(*arms[start][:2], logits[start : start + len(RATES)].flatten(0, 1), targets)
            .view(len(RATES), -1)
            .mean(1)
            for start in range(0, len(arms), len(RATES))
        ]
        return torch.cat(values)

    def look(done: Fit) -> None:
        if len(done.losses) in {min(one, epochs) for one in LOOKS}:
            of_test = logits_of(models, test)
            looks.append({
                "pass/validation": passes(logits_of(models, validation), validation[1]),
                "pass/test": passes(of_test, test[1]),
                "confidence": of_test.softmax(-1).amax(-1).prod(-1).mean(-1),
                "switched_off": (factor(log_p_of(logits_of(models, learnt), learnt[1]), 16) < 0.1).double().mean(-1),
            })  # fmt: skip

    train(
        models, *learnt, losses_of, rates=torch.tensor([rate for _, _, rate in arms]), epochs=epochs,
        batch_size=min(BATCH, len(learnt[1])), seed=seed, clip_norm=CLIP, decayed=False, on_epoch=look,
    )  # fmt: skip
    found = {name: torch.stack([one[name] for one in looks]) for name in looks[0]}
    of_ce = [place for place, (arm, _, _) in enumerate(arms) if arm == "ce"]
    for name, part in (("validation", validation), ("test", test)):
        logits = logits_of(models, part)[of_ce]
        found[f"tempered/{name}"] = torch.stack([passes(logits / one, part[1]) for one in TEMPERATURES])
    return found


def copies() -> list[tuple[str, float, float]]:
    """(loss, setting, rate) of each model."""
    return [(arm, one, rate) for arm, settings in LOSSES.items() for one in settings for rate in RATES]


@torch.no_grad()
def logits_of(models: nn.Module, part: Part) -> torch.Tensor:
    """(copies, n, T, K) in float64."""
    return models(part[0].flatten(0, 1)).unflatten(1, part[1].shape).double()


def log_p_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """log p of the answers, (copies, n)."""
    gold = targets[None, ..., None].expand(len(logits), *targets.shape, 1)
    return logits.log_softmax(-1).gather(-1, gold).squeeze(-1).sum(-1)


def passes(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """pass@1, @16 and @256 (copies, 3)."""
    log_p = log_p_of(logits, targets)
    return torch.stack([coverage(log_p, n).mean(-1) for n in N], dim=-1)


# The experiments read it.


def tries(*, arm: str, task: str, epochs: int, swept: Path) -> dict[str, float]:
    """pass@N of one arm, what it may choose taken for the best pass@N on validation answers, for each N by itself.

    Of a loss its setting and rate, at the last epoch; of ce_early the epoch and rate; of ce_temperature the temperature
    and rate.
    """
    del task, epochs  # of the artifact
    found = load_file(swept)
    if arm == "ce_temperature":
        validation, test = (found[f"tempered/{name}"].flatten(0, 1) for name in ("validation", "test"))
    else:
        mine = [place for place, (name, _, _) in enumerate(copies()) if name == arm.removesuffix("_early")]
        first = 0 if arm == "ce_early" else -1
        validation, test = (found[f"pass/{name}"][first:, mine].flatten(0, 1) for name in ("validation", "test"))
    best = validation.argmax(0)
    return {f"pass_{n}": float(test[best[place], place]) for place, n in enumerate(N)} | {
        f"chosen_{n}": float(best[place]) for place, n in enumerate(N)
    }


def training(*, arm: str, task: str, epochs: int, swept: Path) -> dict[str, float]:
    """One loss, or one moment of cross-entropy ("early", "late"), at the rate of its best pass@1 at the end."""
    del task
    found = load_file(swept)
    looks = [min(one, epochs) for one in LOOKS]
    rate = int(found["pass/validation"][-1, : len(RATES), 0].argmax())
    name = "ce" if arm in ("early", "late") else arm
    mine = next(place for place, (one, _, _) in enumerate(copies()) if one == name) + rate
    look = looks.index(min(EARLY, epochs)) if arm == "early" else -1
    values = {f"pass_{n}": float(found["pass/test"][look, mine, place]) for place, n in enumerate(N)}
    off = found["switched_off"][:, mine]
    first = looks.index(min(EARLY, epochs))
    rise = float(found["pass/test"][-1, mine, 0] - found["pass/test"][first, mine, 0])
    return values | {
        "rise_1": rise,
        "confidence": float(found["confidence"][look, mine]), "rate": RATES[rate], "off_more": float(off[-1] - off[0]),
        "switched_off": float(off[look]),
    }  # fmt: skip
