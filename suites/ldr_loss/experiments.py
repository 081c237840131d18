"""The experiments of ldr-loss: the exact tier (see exact.py), Letter and synthetic labels, the paper's protocols."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

from suites.ldr_loss import exact, images, letters, method
from suites.ldr_loss.contenders import LOSSES, RATES
from suites.ldr_loss.exact import Metrics
from suites.ldr_loss.letters import ADAPTIVE


def closed_form(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.closed_form(seed)


def general_form(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.general_form(seed)


def limits(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.limits(seed)


def symmetry(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.symmetry(seed)


def consistency(*, arm: str, seed: int, device: torch.device, lam: float) -> Metrics:
    return exact.consistency(seed, lam)


def crammer_singer(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.crammer_singer(seed)


def mean_absolute_error(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.mean_absolute_error(seed)


def adaptive(*, arm: str, seed: int, device: torch.device, alpha: float) -> Metrics:
    return exact.adaptive(seed, alpha)


def adaptive_spikes(*, arm: str, seed: int, device: torch.device, alpha: float) -> Metrics:
    return exact.adaptive_spikes(seed, alpha)


def algorithm(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.algorithm(seed)


def generalised_ce(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.generalised_ce(seed)


# Small tier: synthetic labels of known distribution, and Letter.


def linear_scores(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """S5: labels from q(x) = softmax(W x), scores fitted by a linear model; how well they order the classes."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(5, 6, generator=generator)
    x, fresh = torch.randn(40_000, 5, generator=generator), torch.randn(2000, 5, generator=generator)
    y = torch.multinomial((x @ truth).softmax(1), 1, generator=generator).squeeze(1)
    lam, margin = (0.0, 1.0) if arm == "crammer_singer" else (float(arm.removeprefix("ldr_").replace("_", ".")), 0.0)
    weight = torch.zeros(5, 6, requires_grad=True)
    steps = 300
    optimizer = torch.optim.Adam([weight], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        method.ldr_kl(x @ weight, y, lam=lam, margin=margin).backward()
        optimizer.step()
        schedule.step()
    ranks = [rankdata(scores, axis=1) for scores in ((fresh @ weight).detach().numpy(), (fresh @ truth).numpy())]
    centred = [rank - rank.mean(1, keepdims=True) for rank in ranks]
    spearman = (centred[0] * centred[1]).sum(1) / np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
    return {"rank_correlation": float(spearman.mean())}


NOISES = ("clean", "uniform-0.3", "uniform-0.6")


def trained(*, seed: int, device: torch.device, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """All losses on `rows` of Letter's training part, drawn by seed, a fifth of them for validation."""
    drawn = np.random.default_rng(seed).permutation(letters.TRAINING_ROWS)[:rows]
    data = letters.split(drawn[rows // 5 :], drawn[: rows // 5])
    return letters.train_all(data, NOISES, epochs=epochs, seed=seed)


def trained_folds(*, seed: int, device: torch.device, noise: str, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """The paper's protocol: fold number `seed` of five, in the order of the file."""
    folds = list(KFold(5).split(np.arange(rows)))
    return letters.train_all(letters.split(*folds[seed % 5]), [noise], epochs=epochs, seed=seed)


def outcome(results: dict[str, torch.Tensor], place: int, loss: str) -> Metrics:
    """Test accuracies of a loss under noise number `place`, at the rate with the best noisy validation accuracy."""
    validation = results["validation"][:, LOSSES.index(loss), place]
    rate = int(validation.argmax())
    top = results["test"][rate, LOSSES.index(loss), place]
    accuracies = {f"top{k + 1}": float(value) for k, value in enumerate(top)}
    return {**accuracies, "validation": float(validation[rate]), "learning_rate": RATES[rate], "rate": float(rate)}


def letter(*, arm: str, seed: int, device: torch.device, noise: str, rows: int, epochs: int, trained: Path) -> Metrics:
    """S1, S4: one loss under one noise."""
    return outcome(load_file(trained), NOISES.index(noise), arm)


def letter_folds(
    *, arm: str, seed: int, device: torch.device, noise: str, rows: int, epochs: int, trained_folds: Path
) -> Metrics:
    """The paper's tabular protocol on Letter: one loss under one noise."""
    return outcome(load_file(trained_folds), 0, arm)


def letter_contrasts(*, arm: str, seed: int, device: torch.device, rows: int, epochs: int, trained: Path) -> Metrics:
    """S1-S4: what is said about several losses or noise settings at once."""
    results = load_file(trained)
    top = {(loss, noise): outcome(results, place, loss) for loss in LOSSES for place, noise in enumerate(NOISES)}

    def gap(k: int, noise: str, method: str, baseline: str) -> float:
        return float(top[method, noise][f"top{k}"]) - float(top[baseline, noise][f"top{k}"])

    baselines = [loss for loss in LOSSES if not loss.startswith(("ldr", "aldr"))]
    forms = ("aldr", "aldr_softplus")

    def ranks(adaptive: str) -> dict[str, float]:
        """Mean rank over the noise settings, the other forms of ALDR-KL left out."""
        compared = [loss for loss in LOSSES if loss == adaptive or not loss.startswith("aldr")]
        table = np.array([[float(top[loss, noise]["top1"]) for loss in compared] for noise in NOISES])
        return dict(zip(compared, rankdata(-table, axis=1).mean(0).tolist(), strict=True))

    return {
        "smallest_step": min(gap(1, "uniform-0.6", *pair) for pair in (("ldr_1", "ldr_0_1"), ("ldr_10", "ldr_1"))),
        **{f"{loss}_on_clean": gap(1, "clean", loss, "cross_entropy") for loss in forms},
        **{f"{loss}_rank": ranks(loss)[loss] for loss in forms},
        **{f"{loss}_over_best": min(gap(1, "uniform-0.6", loss, one) for one in baselines) for loss in forms},
        **{f"mae_behind_{lam}": gap(5, "clean", lam, "mae") for lam in ("ldr_0_1", "ldr_1", "ldr_10")},
        **{
            f"{loss}_auroc_{noise}": auroc(results, table, place, int(top[loss, noise]["rate"]))
            for table, loss in enumerate(ADAPTIVE)
            for place, noise in enumerate(NOISES)
            if noise != "clean"
        },
    }


def auroc(results: dict[str, torch.Tensor], table: int, place: int, rate: int) -> float:
    """How well a larger lam tells training rows of wrong label from the others."""
    wrong = results["noisy"][place] != results["labels"]
    return float(roc_auc_score(wrong.numpy(), results["lam"][table, rate, place].numpy()))


# Full tier: CIFAR-100 (the folds of Letter are above).


def cifar100(*, arm: str, seed: int, device: torch.device, noise: str, epochs: int, rows: int) -> Metrics:
    """S6: ResNet-18, one fold, one loss; the learning rate by noisy validation accuracy."""
    data = images.fold(seed, noise, device, rows=rows)
    tried = [images.train(data, arm, rate, epochs=epochs, seed=seed) for rate in RATES]
    best = max(range(len(RATES)), key=lambda place: tried[place]["validation"])
    return {**tried[best], "learning_rate": RATES[best]}
