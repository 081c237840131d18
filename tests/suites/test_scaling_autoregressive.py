"""The sources and problems, and the protocols end to end on a few rows in the real on-disk formats."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from suites.scaling_autoregressive import experiments, on_grounds, on_mathematics
from suites.scaling_autoregressive.method import Architecture
from suites.scaling_autoregressive.networks import Decoder, Examples, Recipe, row_losses, train_family, weights
from suites.scaling_autoregressive.on_grounds import MarkovSource
from suites.scaling_autoregressive.on_images import image_examples, image_tokens
from tests.suites import data_folders

CPU = torch.device("cpu")


def finite(metrics: dict) -> None:
    assert metrics
    assert all(np.isfinite(value).all() for value in metrics.values())


def test_a_built_network_has_its_size() -> None:
    architecture = Architecture(64, 8)
    decoder = Decoder(architecture, 11, 7)
    assert weights(decoder.blocks) == architecture.size == 98_304
    assert decoder(torch.zeros(2, 7, dtype=torch.int64)).shape == (2, 7, 11)


def test_source_by_hand() -> None:
    """A source that repeats the last symbol but one with probability 0.9: half of the pairs are equal."""
    table = torch.full((2, 2, 2), 0.1, dtype=torch.float64)
    for first in range(2):
        table[first, :, first] = 0.9
    source = MarkovSource(table)
    torch.testing.assert_close(source.pairs, torch.full((2, 2), 0.25, dtype=torch.float64))
    rate = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert source.conditional_entropies == pytest.approx((np.log(2), np.log(2), rate))
    drawn = source.examples(500, 20, torch.Generator().manual_seed(0))
    assert (drawn.targets[:, 0] == -100).all()
    repeated = (drawn.targets[:, 2:] == drawn.inputs[:, 1:-1]).double().mean()
    assert float(repeated) == pytest.approx(0.9, abs=0.02)


def test_images_are_rows_of_pixels() -> None:
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    tokens = image_tokens(images, 2)
    assert tokens.shape == (2, 12)
    # The top left block of each channel: the means of 0, 1, 4, 5 and of the same 16 and 32 further on, halves to even.
    assert tokens[0, :3].tolist() == [2, 18, 34]
    shifted = image_examples(tokens)
    assert shifted.inputs[:, 0].tolist() == [256, 256]
    assert torch.equal(shifted.inputs[:, 1:], shifted.targets[:, :-1])


def test_problems_are_right_and_only_answers_carry_loss() -> None:
    question, answer = on_mathematics.problem("compare", 8, random.Random(3))
    left, right = question.removeprefix("Is ").removesuffix("?").split(" greater than ")
    assert answer == str(int(left) > int(right))
    wrong, share, answers = on_mathematics.check_arithmetic(
        on_mathematics.maths_examples(5, 200, (3, 10), random.Random(0))
    )
    assert wrong == 0 and 0 < share < 0.5 and answers > 20


def test_larger_numbers_for_larger_entropy() -> None:
    lengths = [
        np.mean([len(on_mathematics.problem("add", s, random.Random(k))[1]) for k in range(200)]) for s in (3, 8, 12)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


def test_learning_curves_of_a_family() -> None:
    """Points are log-spaced and end with training; sizes share rows; the loss of a row leaves -100 out."""
    source = MarkovSource.random(4, 0.3, 0)
    generator = torch.Generator().manual_seed(0)
    train, test = source.examples(320, 8, generator), source.examples(16, 8, generator)
    curves, models = train_family(((8, 1), (16, 1)), 4, train, test, Recipe(batch=8, first=5, points=4), seed=1000)
    assert curves.sizes.tolist() == [192, 768]
    assert curves.steps[0] == 5 and curves.steps[-1] == 40
    assert curves.tokens[-1] == 320 * 8
    assert curves.losses.shape == (2, len(curves.steps), 16)
    torch.testing.assert_close(row_losses(models[1], test), curves.losses[1, -1])
    logits = models[1](test.inputs).log_softmax(-1)[:, 1:]
    direct = -logits.gather(-1, test.targets[:, 1:, None])[..., 0].mean(1)
    torch.testing.assert_close(curves.losses[1, -1], direct.detach())
    assert curves.runs()[0].losses[-1] < curves.runs()[0].losses[0]


def test_matched_gaps_by_hand() -> None:
    """Extrapolation is twice the training loss in both sizes, which the larger one lowers in half the steps."""
    training = np.array([[4.0, 3.0, 2.0], [3.0, 2.0, 1.0]])
    gaps = on_mathematics.matched_gaps(training, 2 * training)
    assert gaps["gap_at_loss"] == pytest.approx(0)
    assert gaps["gap_at_step"] == pytest.approx(np.mean([1 / 4, 1 / 3, 1 / 2]))


@pytest.mark.parametrize("arm", ["pretrained", "scratch"])
def test_cifar10_from_disk(arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folders.cifar10(tmp_path, 200)))
    metrics = experiments.cifar10(arm=arm, seed=1000, device=CPU, depths=2, epochs=1, limit=160)
    finite(metrics)
    assert ("spearman" in metrics) == (arm == "pretrained")
    assert all(0 <= error <= 1 for error in metrics["errors"])


def test_arithmetic_end_to_end() -> None:
    metrics = experiments.arithmetic(seed=1000, device=CPU, depths=3, steps=2, batch=2, length=48)
    finite(metrics)
    assert len(metrics["extrapolate_lowest"]) == 3


@pytest.mark.parametrize("ground", ["markov", "text", "images"])
def test_a_family_and_all_that_is_read_from_it(ground: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise in the place of text and images, a few steps of each size."""
    if ground != "markov":
        monkeypatch.setattr(on_grounds, "text_examples", bytes_of_noise)
        monkeypatch.setattr(on_grounds, "load_images", images_of_noise)
    monkeypatch.setattr(on_grounds, "STEPS", dict.fromkeys(on_grounds.STEPS, 24))
    monkeypatch.setattr(on_grounds, "LARGE_TEST", 64)
    made = experiments.family(seed=1000, ground=ground)
    file = tmp_path / "family.safetensors"
    save_file(made, file)
    common = {"ground": ground, "family": file}
    if ground == "markov":
        finite(experiments.known_entropy(**common))
    else:
        finite(experiments.size_curves(**common))
    for arm in on_grounds.LAWS:
        finite(experiments.rival_laws(arm=arm, **common))
    if ground == "images":
        finite(experiments.fine_tuning(arm="pretrained", seed=1000, size=1536, epochs=1, **common))
        finite(experiments.fine_tuning(arm="scratch", seed=1000, size=1536, epochs=1, **common))


def bytes_of_noise(_: str, __: str, rows: int, length: int, generator: torch.Generator) -> Examples:
    tokens = torch.randint(97, 123, (rows, length + 1), generator=generator)
    return Examples(tokens[:, :-1], tokens[:, 1:])


def images_of_noise(*_: object) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (2500, 64), generator=generator), torch.arange(2500) % 10
