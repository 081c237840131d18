"""The experiments of scaling-autoregressive: formulas and tables, families of small decoders, full protocols."""

from __future__ import annotations

import operator
import random
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from scipy import stats
from torch import nn
from torch.nn import functional as F

from baselines.ngrams import ngram_nats
from baselines.power_laws import EXPONENTIAL, LOGARITHM, POWER, POWER_PLUS_CONSTANT, fit, power_law
from baselines.training import cosine, step_count, supervised
from baselines.training import fit as train
from suites.scaling_autoregressive import exact, maths, method
from suites.scaling_autoregressive.exact import Metrics, relative
from suites.scaling_autoregressive.families import Curves, Recipe, row_losses, train_decoder, train_family
from suites.scaling_autoregressive.method import Architecture
from suites.scaling_autoregressive.networks import Classifier, Decoder
from suites.scaling_autoregressive.sources import (
    Examples,
    MarkovSource,
    image_examples,
    load_images,
    text_examples,
)

# Exact tier: see exact.py.


def decomposition(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E1."""
    return exact.decomposition(seed)


def parameter_counts(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E2."""
    return exact.parameter_counts()


def network(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """The decoder that is built."""
    return exact.network(seed)


def learning_rates(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E3."""
    return exact.learning_rates()


def units(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E4 to E7."""
    return exact.units()


def data_laws(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E8 to E10."""
    return exact.data_laws()


def information(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E11, E12."""
    return exact.information(seed)


def language(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E13 to E16."""
    return exact.language()


def recovery(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E17."""
    return exact.recovery(seed)


def hulls(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E18."""
    return exact.hulls(seed)


def resampling(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """The bootstrap of b, and the lowest loss of a run."""
    return exact.resampling(seed)


def ground_truth(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """The Markov source's closed forms by powers of its chain, and generated problems by Python's own arithmetic."""
    source = MarkovSource.random(8, CONCENTRATION, seed)
    pairs = torch.full((8, 8), 1 / 64, dtype=torch.float64)
    for _ in range(2000):
        pairs = (pairs[..., None] * source.next_symbol).sum(0)
    triples = pairs[..., None] * source.next_symbol
    chain = [pairs.sum(0), pairs, triples]
    joint = [float(method.entropy(table.flatten().numpy())) for table in chain]
    found = source.conditional_entropies
    by_chain = [joint[0], joint[1] - joint[0], joint[2] - joint[1]]
    symbols = source.sample(20_000, 12, torch.Generator().manual_seed(seed))
    seen = torch.bincount((symbols[:, -3] * 64 + symbols[:, -2] * 8 + symbols[:, -1]), minlength=512).double() / 20_000
    problems = maths.maths_examples(40, 256, (3, 10), random.Random(seed))
    wrong, share, answers = check_arithmetic(problems)
    return {
        "stationary_gap": float((source.pairs - pairs).abs().max()),
        "entropy_gap": max(abs(a - b) for a, b in zip(found, by_chain, strict=True)),
        "entropies_fall": min(found[0] - found[1], found[1] - found[2]),
        "sampled_gap": float((seen - triples.flatten()).abs().max()),
        "wrong_answers": wrong,
        "answers": answers,
        "answer_share": share,
    }


OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, ">": operator.gt}


def check_arithmetic(problems: Examples) -> tuple[float, float, float]:
    """(answers that are wrong or not exactly what carries loss, share of tokens with loss, answers)."""
    wrong, count = 0, 0
    carries = problems.targets != -100
    for row, mask in zip(problems.inputs, carries, strict=True):
        text = maths.CHARACTERS.decode(row)
        start = 1
        for line in text[1:].split("\n")[:-1]:  # the last one is cut off
            question, answer = line.split("? ")
            first = start + len(question) + 2
            numbers = question.removeprefix("What is ").removeprefix("Is ").replace("greater than", ">")
            left, sign, right = numbers.split(" ")
            wrong += str(OPERATORS[sign](int(left), int(right))) != answer
            # Target t is token t + 1: the answer and its line end carry loss, the question does not.
            wrong += not bool(mask[first - 1 : first + len(answer)].all())
            wrong += bool(mask[start - 1 : first - 1].any()) if start > 1 else bool(mask[: first - 1].any())
            start += len(line) + 1
            count += 1
    return float(wrong), float(carries.double().mean()), float(count)


# Small tier: one family of sizes a ground and seed, shared by all experiments.

CONCENTRATION = 0.5
"""Of the Dirichlet distribution that the source's rows are drawn from."""
SHAPES = {
    "markov": ((8, 2), (16, 2), (24, 2), (32, 2), (48, 2), (64, 2)),
    "text": ((8, 2), (16, 2), (24, 2), (32, 2), (64, 2)),
    "images": ((8, 2), (16, 2), (24, 2), (32, 2), (64, 2)),
}
"""(width, depth): N = 384, 1536, 3456, 6144, (13824,) 24576. Two layers each, for deep ones learn late."""
LENGTH = {"markov": 32, "text": 64, "images": 64}
RECIPES = {"markov": Recipe(batch=32), "text": Recipe(batch=16), "images": Recipe(batch=16)}
STEPS = {"markov": 1000, "text": 500, "images": 500}
TEST_ROWS = 192
LARGE_TEST = 4096
"""Rows of the Markov source at the end of training: the standard error of their mean loss is 0.2 % of it."""


def family(*, seed: int, device: torch.device, ground: str) -> dict[str, torch.Tensor]:
    """Artifact: the learning curves of all sizes, their final losses, n-gram anchors, and for images the models."""
    generator = torch.Generator().manual_seed(seed)
    rows, length = STEPS[ground] * RECIPES[ground].batch, LENGTH[ground]
    if ground == "markov":
        source = MarkovSource.random(8, CONCENTRATION, seed)
        vocabulary, anchors = 8, torch.tensor(source.conditional_entropies, dtype=torch.float64)
        seen, test = source.examples(rows, length, generator), source.examples(TEST_ROWS, length, generator)
        last = source.examples(LARGE_TEST, length, generator)
    elif ground == "text":
        vocabulary = 256
        seen = text_examples("tiny-shakespeare", "train", rows, length, generator)
        test = last = text_examples("tiny-shakespeare", "test", TEST_ROWS, length, generator)
        anchors = ngram_anchors(seen.targets, test.targets)
    else:
        vocabulary = 257
        pixels, _ = load_images("fashion-mnist", "train", 8)
        unseen, _ = load_images("fashion-mnist", "test", 8)
        seen = image_examples(pixels[torch.randperm(len(pixels), generator=generator)[:rows]])
        test = last = image_examples(unseen[torch.randperm(len(unseen), generator=generator)[:TEST_ROWS]])
        anchors = ngram_anchors(seen.targets, test.targets)
    curves, models = train_family(SHAPES[ground], vocabulary, seen, test, RECIPES[ground], seed)
    found = {
        "sizes": curves.sizes,
        "steps": curves.steps,
        "tokens": curves.tokens,
        "losses": curves.losses,
        "training": curves.training,
        "final": torch.stack([row_losses(model, last) for model in models]).double().mean(1),
        "anchors": anchors,
    }
    if ground == "images":
        for number, model in enumerate(models):
            found |= {f"{number}.{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}
    return found


def ngram_anchors(train: torch.Tensor, test: torch.Tensor) -> torch.Tensor:
    """Nats per token of n-gram models with 0 to 3 tokens of context, float64 (4,)."""
    return torch.stack([ngram_nats(train, test, 256, order).mean() for order in range(4)])


def stored(path: Path) -> tuple[Curves, np.ndarray, np.ndarray]:
    """(learning curves, final losses, anchors) of a family."""
    tensors = load_file(path)
    curves = Curves(*(tensors[name] for name in ("sizes", "steps", "tokens", "losses", "training")))
    return curves, tensors["final"].numpy(), tensors["anchors"].numpy()


def known_entropy(*, arm: str, seed: int, device: torch.device, ground: str, family: Path) -> Metrics:
    """S1: L(N) of a source whose entropy rate is known."""
    curves, losses, anchors = stored(family)
    fitted = fit(POWER_PLUS_CONSTANT, curves.sizes.numpy(), losses)
    law, entropy = power_law(fitted), float(anchors[2])
    low, high = fitted.interval("offset")
    return {
        "entropy": entropy,
        "offset": law.offset,
        "entropy_error": relative(law.offset, entropy),
        "below_entropy": float(losses.min()) - entropy,
        "largest_excess": float(losses[-1]) / entropy - 1,
        "interval_low": low / entropy - 1,
        "interval_high": high / entropy - 1,
        "exponent": law.exponent,
    }


def size_curves(*, arm: str, seed: int, device: torch.device, ground: str, family: Path) -> Metrics:
    """S4, and the same on bytes of text: L(N) and L(C), held against n-grams."""
    curves, losses, anchors = stored(family)
    sizes, hull = curves.sizes.numpy(), method.lower_hull(method.pareto_frontier(curves.runs()))
    fitted = fit(POWER_PLUS_CONSTANT, sizes, losses)
    law, of_compute = power_law(fitted), method.loss_law(hull)
    low, high = fitted.interval("offset")
    return {
        "spearman": float(stats.spearmanr(sizes, losses).statistic),
        "residual": float(np.abs(fitted(sizes) / losses - 1).max()),
        "offset": law.offset,
        "exponent": law.exponent,
        "offset_low": low,
        "offset_high": high,
        "compute_offset": of_compute.offset,
        "compute_exponent": of_compute.exponent,
        "offsets_gap": relative(of_compute.offset, law.offset),
        "largest": float(losses[-1]),
        "nats_per_row": float(losses[-1]) * LENGTH[ground],
        "above_unigram": float(losses.max() - anchors[0]),
        "above_best_ngram": float(losses[-1] - anchors.min()),
    }


LAWS = {
    "power_plus_constant": POWER_PLUS_CONSTANT,
    "power": POWER,
    "exponential": EXPONENTIAL,
    "logarithm": LOGARITHM,
}


def rival_laws(*, arm: str, seed: int, device: torch.device, ground: str, family: Path) -> Metrics:
    """The law against its rivals: how well each fits all sizes, and foretells the largest from the others."""
    curves, losses, _ = stored(family)
    sizes = curves.sizes.numpy()
    fitted, held_out = fit(LAWS[arm], sizes, losses), fit(LAWS[arm], sizes[:-1], losses[:-1])
    return {
        "aic": fitted.aic,
        "residual": float(np.abs(fitted(sizes) / losses - 1).max()),
        "foretold_error": relative(float(held_out(sizes[-1])), float(losses[-1])),
    }


def optimal_size(*, arm: str, seed: int, device: torch.device, ground: str, family: Path) -> Metrics:
    """S5: the exponent of N_opt(C), and its bootstrap over the test rows."""
    curves, _, _ = stored(family)
    hull = method.lower_hull(method.pareto_frontier(curves.runs()))
    tokens = curves.tokens.expand(len(curves.sizes), -1).numpy()
    draws = method.bootstrap_size_exponents(
        curves.sizes.tolist(), tokens, curves.losses.double().numpy(), draws=200, seed=seed
    )
    low, high = np.quantile(draws, [0.025, 0.975])
    return {
        "exponent": -method.size_law(hull).exponent,
        "bootstrap_low": float(low),
        "bootstrap_high": float(high),
        "draws": float(len(draws)),
        "sizes_on_hull": float(len(np.unique(hull.size))),
    }


RATES = (1e-3, 3e-3)
"""The grid of fine-tuning, the same for pre-trained and fresh models."""


def fine_tuning(
    *, arm: str, seed: int, device: torch.device, ground: str, size: int, epochs: int, family: Path
) -> Metrics:
    """S6: 8x8 Fashion-MNIST, 1,000 labelled images, 500 to choose the rate on, 1,000 to test on."""
    shapes = {Architecture(*shape).size: number for number, shape in enumerate(SHAPES[ground])}
    number, tensors = shapes[size], load_file(family)
    generator = torch.Generator().manual_seed(seed)
    pixels, labels = load_images("fashion-mnist", "train", 8)
    unseen, truth = load_images("fashion-mnist", "test", 8)
    # The draw of `family`, behind the images that it pre-trained on.
    order = torch.randperm(len(pixels), generator=generator)[STEPS[ground] * RECIPES[ground].batch :]
    tested = torch.randperm(len(unseen), generator=generator)[:1000]
    parts = [(pixels[order[:1000]], labels[order[:1000]]), (pixels[order[1000:1500]], labels[order[1000:1500]])]
    parts.append((unseen[tested], truth[tested]))
    candidates = []
    for rate in RATES:
        torch.manual_seed(seed)
        decoder = Decoder(Architecture(*SHAPES[ground][number]), 257, LENGTH[ground])
        if arm == "pretrained":
            prefix = f"{number}."
            decoder.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        candidates.append(classify(decoder, parts, 10, rate, epochs, 32, seed))
    validation, test = min(candidates)
    return {"error": test, "validation_error": validation}


def classify(
    decoder: Decoder,
    parts: list[tuple[torch.Tensor, torch.Tensor]],
    classes: int,
    rate: float,
    epochs: int,
    batch: int,
    seed: int,
) -> tuple[float, float]:
    """(validation error, test error) after training all weights; parts are (tokens, labels) to train, choose, test."""
    torch.manual_seed(seed)
    device = decoder.embedding.weight.device
    model = Classifier(decoder, classes).to(device)
    steps = step_count(len(parts[0][0]), batch, epochs, drop_last=False)
    (inputs, labels), *held_out = [(image_examples(tokens).inputs.to(device), y.to(device)) for tokens, y in parts]
    train(
        model,
        inputs,
        labels,
        supervised(F.cross_entropy),
        epochs=epochs,
        batch_size=batch,
        drop_last=False,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0, fused=True),
        schedule=cosine(steps, warmup=min(10, steps // 10)),
        seed=seed,
    )
    validation, test = (error_rate(model, *part) for part in held_out)
    return validation, test


@torch.no_grad()
def error_rate(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of rows that are classified wrongly."""
    model.eval()
    found = torch.cat([model(part).argmax(-1) for part in inputs.split(500)])
    return float((found != labels).double().mean())


# Full tier: the paper's narrow-deep shapes on a GPU.


def arithmetic(
    *, arm: str, seed: int, device: torch.device, depths: int, steps: int, batch: int, length: int
) -> Metrics:
    """S2, S3: generated maths, s uniform on 3..10 to train on, 8 (interpolate) and 12 (extrapolate) to test."""
    shapes = [(32, 4), (64, 8), (128, 16), (256, 32)][:depths]
    generator = random.Random(seed)
    rows = maths.maths_examples(steps * batch, length, (3, 10), generator).to(device)
    tests = [maths.maths_examples(256, length, (s, s), generator).to(device) for s in (8, 12)]
    both = Examples(*(torch.cat([getattr(test, name) for test in tests]) for name in ("inputs", "targets")))
    recipe = Recipe(batch=batch, weight_decay=0.05, warmup=min(0.1, 3000 / steps))
    curves, _ = train_family(shapes, maths.CHARACTERS.vocabulary, rows, both, recipe, seed)
    sizes, found = curves.sizes.numpy(), {}
    near, far = (part.double().mean(-1).numpy() for part in curves.losses.split(256, -1))
    for name, losses in (("interpolate", near), ("extrapolate", far)):
        lowest = losses.min(1)
        found[f"{name}_spearman"] = float(stats.spearmanr(sizes, lowest).statistic)
        constant, pure = fit(POWER_PLUS_CONSTANT, sizes, lowest), fit(POWER, sizes, lowest)
        small = power_law(constant).offset < 0.1 * lowest.min()
        found[f"{name}_needs_no_other_law"] = float(constant.aic < pure.aic or small)
        found[f"{name}_lowest"] = lowest.tolist()
    return found | matched_gaps(curves.training.double().numpy(), far)


def matched_gaps(training: np.ndarray, extrapolation: np.ndarray) -> Metrics:
    """Mean relative difference of extrapolation losses between neighbouring sizes, at matched training loss and step.

    Both (sizes, points). Losses are interpolated over the range of training losses that both sizes have met.
    """
    at_loss, at_step = [], []
    for (x, y), (u, v) in zip(
        zip(training, extrapolation, strict=True), list(zip(training, extrapolation, strict=True))[1:], strict=False
    ):
        shared = np.linspace(max(x.min(), u.min()), min(x.max(), u.max()), 50)
        smaller, larger = (np.interp(shared, np.sort(a), b[np.argsort(a)]) for a, b in ((x, y), (u, v)))
        at_loss.append(float(np.abs(larger / smaller - 1).mean()))
        at_step.append(float(np.abs(v / y - 1).mean()))
    return {
        "gap_at_loss": float(np.max(at_loss)),
        "gap_at_step": float(np.mean(at_step)),
        "gap_ratio": float(np.mean(at_loss) / np.mean(at_step)),
    }


def cifar10(*, arm: str, seed: int, device: torch.device, depths: int, epochs: int, limit: int) -> Metrics:
    """S4, S6: CIFAR-10 at 8x8 (192 RGB tokens): pre-training in several sizes, then classification, or that alone."""
    shapes = [(32, 4), (64, 8), (128, 16), (256, 32)][:depths]
    pixels, labels = load_images("cifar10", "train", 8, limit)
    unseen, truth = load_images("cifar10", "test", 8, limit)
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))
    kept = len(pixels) // 10  # a tenth of the training images chooses the rate of fine-tuning
    chosen, learned = order[:kept], order[kept:]
    parts = [(pixels[learned], labels[learned]), (pixels[chosen], labels[chosen]), (unseen, truth)]
    seen, test = image_examples(pixels[learned]).to(device), image_examples(unseen).to(device)
    recipe = Recipe(batch=128, passes=epochs)
    sizes, lowest, errors = [], [], []
    for width, depth in shapes:
        architecture = Architecture(width, depth)
        trained: list[tuple[float, float]] = []
        torch.manual_seed(seed)
        decoder = Decoder(architecture, 257, 192).to(device)
        if arm == "pretrained":
            _, losses, _ = train_decoder(decoder, architecture.size, seen, test, recipe, seed)
            lowest.append(float(losses.double().mean(1).min()))
        state = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
        for rate in RATES:
            decoder.load_state_dict(state)
            trained.append(classify(decoder, parts, 10, rate, epochs, 128, seed))
        sizes.append(architecture.size)
        errors.append(min(trained)[1])
    found: Metrics = {"error_largest": errors[-1], "error_second": errors[-2], "errors": errors}
    if arm == "pretrained":
        found["spearman"] = float(stats.spearmanr(sizes, lowest).statistic)
        found["nats_per_image"] = [192 * loss for loss in lowest]
    return found
