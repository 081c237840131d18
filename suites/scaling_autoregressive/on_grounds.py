"""The small tier: families on a source of known entropy, on bytes of a text, and on images; what is read from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from baselines.corpora import corpus, windows
from baselines.ngrams import ngram_nats
from baselines.power_laws import EXPONENTIAL, LOGARITHM, POWER, POWER_PLUS_CONSTANT, fit, power_law
from suites.scaling_autoregressive import method
from suites.scaling_autoregressive.method import Architecture
from suites.scaling_autoregressive.networks import (
    NO_LOSS,
    Curves,
    Decoder,
    Examples,
    Recipe,
    rank_correlation,
    row_losses,
    train_family,
)
from suites.scaling_autoregressive.on_images import RATES, classify, image_examples, least, load_images
from suites.scaling_autoregressive.tables import relative


@dataclass(frozen=True)
class MarkovSource:
    """A stationary source whose next symbol depends on the last two: `next_symbol` float64 (K, K, K), P(c | a, b)."""

    next_symbol: torch.Tensor

    @classmethod
    def random(cls, symbols: int, concentration: float, seed: int) -> MarkovSource:
        """Every row drawn from a symmetric Dirichlet distribution."""
        generator = torch.Generator().manual_seed(seed)
        shape = torch.full((symbols, symbols, symbols), concentration, dtype=torch.float64)
        gamma = torch._standard_gamma(shape, generator=generator)
        return cls(gamma / gamma.sum(-1, keepdim=True))

    @property
    def pairs(self) -> torch.Tensor:
        """The stationary distribution of two neighbours, (K, K)."""
        symbols = len(self.next_symbol)
        step = torch.zeros(symbols, symbols, symbols, symbols, dtype=torch.float64)
        for middle in range(symbols):
            step[:, middle, middle] = self.next_symbol[:, middle]  # (a, b) -> (b, c)
        chain = step.view(symbols**2, symbols**2)
        # pi (chain - 1) = 0 and sum(pi) = 1, one of whose equations is redundant.
        system = torch.cat([(chain.T - torch.eye(symbols**2))[:-1], torch.ones(1, symbols**2)])
        right = torch.zeros(symbols**2, dtype=torch.float64)
        right[-1] = 1
        return torch.linalg.solve(system.double(), right).view(symbols, symbols)

    @property
    def conditional_entropies(self) -> tuple[float, float, float]:
        """Nats per symbol given 0, 1 and 2 symbols before it: the last is the entropy rate."""
        pairs = self.pairs
        triples = pairs[..., None] * self.next_symbol

        def joint(p: torch.Tensor) -> float:
            return float(-torch.special.xlogy(p, p).sum())

        single, double, triple = joint(pairs.sum(0)), joint(pairs), joint(triples)
        return single, double - single, triple - double

    def sample(self, rows: int, length: int, generator: torch.Generator) -> torch.Tensor:
        """int64 (rows, length) from the stationary distribution."""
        symbols = len(self.next_symbol)
        first = torch.multinomial(self.pairs.flatten().clamp(min=0), rows, True, generator=generator)
        found = [first // symbols, first % symbols]
        thresholds = self.next_symbol.cumsum(-1)[..., :-1].contiguous()
        for draw in torch.rand(length - 2, rows, 1, generator=generator, dtype=torch.float64):
            found.append((thresholds[found[-2], found[-1]] < draw).sum(-1))
        return torch.stack(found, 1)

    def examples(self, rows: int, length: int, generator: torch.Generator) -> Examples:
        """Rows of `length` predictions; the first, of a symbol with one before it, carries no loss."""
        tokens = self.sample(rows, length + 1, generator)
        targets = tokens[:, 1:].clone()
        targets[:, 0] = NO_LOSS
        return Examples(tokens[:, :-1], targets)


def text_examples(name: str, part: str, rows: int, length: int, generator: torch.Generator) -> Examples:
    """Random stretches of a part of a corpus, in bytes."""
    stretches = windows(getattr(corpus(name), part), rows, length, generator)
    return Examples(stretches[:, :-1], stretches[:, 1:])


CONCENTRATION = 0.5
"""Of the Dirichlet distribution that the source's rows are drawn from."""
FIVE = ((8, 2), (16, 2), (24, 2), (32, 2), (64, 2))
SHAPES = {"markov": (*FIVE[:-1], (48, 2), FIVE[-1]), "text": FIVE, "images": FIVE}
"""(width, depth): N = 384, 1536, 3456, 6144, (13824,) 24576. Two layers each, for deep ones learn late."""
LENGTH = {"markov": 32, "text": 64, "images": 64}
RECIPES = {"markov": Recipe(batch=32), "text": Recipe(batch=16), "images": Recipe(batch=16)}
STEPS = {"markov": 1000, "text": 500, "images": 500}
TEST_ROWS = 192
LARGE_TEST = 4096
"""Rows of the Markov source at the end of training: the standard error of their mean loss is 0.2 % of it."""


def family(*, seed: int, ground: str) -> dict[str, torch.Tensor]:
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
    final = torch.stack([row_losses(model, last) for model in models]).double().mean(1)
    found = {**curves._asdict(), "final": final, "anchors": anchors}
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
    curves = Curves(*(tensors[name] for name in Curves._fields))
    return curves, tensors["final"].numpy(), tensors["anchors"].numpy()


def known_entropy(*, ground: str, family: Path) -> dict[str, float]:
    """L(N) of a source whose entropy rate is known."""
    del ground  # of the artifact
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


def size_curves(*, ground: str, family: Path) -> dict[str, float]:
    """On images and on bytes of text: L(N) and L(C), held against n-grams."""
    curves, losses, anchors = stored(family)
    sizes, hull = curves.sizes.numpy(), method.lower_hull(method.pareto_frontier(curves.runs()))
    fitted = fit(POWER_PLUS_CONSTANT, sizes, losses)
    law, of_compute = power_law(fitted), method.loss_law(hull)
    low, high = fitted.interval("offset")
    return {
        "spearman": rank_correlation(sizes, losses),
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


LAWS = {"power_plus_constant": POWER_PLUS_CONSTANT, "power": POWER, "exponential": EXPONENTIAL, "logarithm": LOGARITHM}
"""The arms of `rival_laws`."""


def rival_laws(*, arm: str, ground: str, family: Path) -> dict[str, float]:
    """The law against its rivals: how well each fits all sizes, and foretells the largest from the others."""
    del ground  # of the artifact
    curves, losses, _ = stored(family)
    sizes = curves.sizes.numpy()
    fitted, held_out = fit(LAWS[arm], sizes, losses), fit(LAWS[arm], sizes[:-1], losses[:-1])
    return {
        "aic": fitted.aic,
        "residual": float(np.abs(fitted(sizes) / losses - 1).max()),
        "foretold_error": relative(float(held_out(sizes[-1])), float(losses[-1])),
    }


def optimal_size(*, seed: int, ground: str, family: Path) -> dict[str, float]:
    """The exponent of N_opt(C), and its bootstrap over the test rows."""
    del ground  # of the artifact
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


def fine_tuning(*, arm: str, seed: int, ground: str, size: int, epochs: int, family: Path) -> dict[str, float]:
    """8x8 Fashion-MNIST, 1,000 labelled images, 500 to choose the rate on, 1,000 to test on."""
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
    tried = {}
    for rate in RATES:
        torch.manual_seed(seed)
        decoder = Decoder(Architecture(*SHAPES[ground][number]), 257, LENGTH[ground])
        if arm == "pretrained":
            prefix = f"{number}."
            decoder.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        tried[rate] = classify(decoder, parts, 10, rate, epochs, 32, seed)
    validation, test = least(tried)
    return {"error": test, "validation_error": validation}
