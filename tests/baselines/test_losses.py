"""The classification losses: gradients, agreement with PyTorch, limits, and logits of any size."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from baselines import losses
from baselines import overlap_losses as region

N, K = 7, 5
PRIOR = torch.arange(1.0, K + 1) / 15
LOSSES: dict[str, tuple[Callable[..., torch.Tensor], dict]] = {
    "cross_entropy": (losses.cross_entropy, {}),
    "label_smoothing": (losses.cross_entropy, {"label_smoothing": 0.1}),
    "logit_adjusted": (losses.logit_adjusted, {"prior": PRIOR, "tau": 1.5}),
    "focal": (losses.focal, {"gamma": 2.0}),
    "focal_small_gamma": (losses.focal, {"gamma": 0.5}),
    "poly1": (losses.poly1, {"epsilon": 2.0}),
    "mae": (losses.mae, {}),
    "mse": (losses.mse, {}),
    "gce": (losses.gce, {"q": 0.7}),
    "truncated_gce": (losses.truncated_gce, {"q": 0.7, "k": 0.2}),
    "truncated_gce_kept": (losses.truncated_gce, {"kept": torch.arange(N) % 2 == 0}),
    "reverse_ce": (losses.reverse_ce, {}),
    "symmetric_ce": (losses.symmetric_ce, {"alpha": 0.5, "beta": 2.0}),
    "rll": (losses.rll, {"alpha": 0.1}),
    "jensen_shannon": (losses.jensen_shannon, {"weights": (0.3, 0.7)}),
    "generalised_js": (
        losses.jensen_shannon,
        {"weights": (0.2, 0.3, 0.5), "others": (torch.linspace(-3, 3, N * K).view(N, K),)},
    ),
    "normalised_ce": (losses.normalised_ce, {}),
    "agce": (losses.agce, {"a": 0.6, "q": 0.6}),
    "aul": (losses.aul, {"a": 5.5, "p": 3.0}),
    "nce_rce": (losses.nce_rce, {"alpha": 1.0, "beta": 0.1}),
    "nce_agce": (losses.nce_agce, {"beta": 4.0, "a": 6.0, "q": 1.5}),
    "nce_aul": (losses.nce_aul, {"beta": 4.0, "a": 6.3, "p": 1.5}),
    "crammer_singer": (losses.crammer_singer, {}),
    "weston_watkins": (losses.weston_watkins, {}),
    "knowledge_distillation": (
        losses.knowledge_distillation,
        {"teacher_logits": torch.linspace(3, -3, N * K).view(N, K), "temperature": 4.0, "weight": 0.9},
    ),
    "dice_example": (region.dice, {"level": "example", "square": True, "smooth": 1.0, "alpha": 0.01}),
    "dice_set": (region.dice, {"level": "set", "square": False, "smooth": 1e-4}),
    "tversky": (region.tversky, {"level": "example", "a": 0.3, "b": 0.7, "smooth": 1.0, "alpha": 0.5}),
}
every = pytest.mark.parametrize(("loss", "options"), LOSSES.values(), ids=LOSSES)


def examples(dtype: torch.dtype = torch.float64, scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(N, K, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randint(K, (N,), generator=generator)


def each_target(loss: Callable[..., torch.Tensor], **options: object) -> torch.Tensor:
    """The loss of each row for every target, (N, K)."""
    logits, _ = examples()
    return torch.stack([loss(logits, torch.full((N,), k), reduction="none", **options) for k in range(K)], 1)


@every
def test_gradient_is_that_of_the_value(loss: Callable, options: dict) -> None:
    logits, targets = examples()
    assert torch.autograd.gradcheck(lambda z: loss(z, targets, **options), logits.requires_grad_())


@every
def test_reductions_and_dtype(loss: Callable, options: dict) -> None:
    for dtype in (torch.float64, torch.float32):
        logits, targets = examples(dtype)
        single = loss(logits, targets, reduction="none", **options)
        assert single.shape == ((K,) if options.get("level") == "set" else (N,))
        assert single.dtype == dtype
        torch.testing.assert_close(loss(logits, targets, reduction="sum", **options), single.sum())
        if options.get("label_smoothing") is None:
            torch.testing.assert_close(loss(logits, targets, **options), single.mean())


@every
def test_huge_logits_give_finite_values_and_gradients(loss: Callable, options: dict) -> None:
    """All pairs of +-1e4, right and wrong, and all logits equal."""
    for dtype in (torch.float64, torch.float32):
        signs = torch.tensor([[1, -1, -1, -1, -1], [-1, 1, -1, -1, -1], [1, 1, -1, -1, -1], [-1] * 5, [1] * 5, [0] * 5])
        logits = torch.cat([signs, signs[:1] * 0 + 3]).to(dtype).mul(1e4).requires_grad_()
        value = loss(logits, torch.zeros(N, dtype=torch.int64), **options)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(logits.grad).all()


def with_impossible(finite: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """One class after the other cannot be; as the target of the first two rows, and for the last ones all but one."""
    logits, targets = examples()
    rows = torch.arange(N)
    logits[rows, rows % K] = -1e12 if finite else -math.inf
    logits[-2:, 1:] = -1e12 if finite else -math.inf
    targets[:2], targets[2:-2], targets[-2:] = rows[:2], (rows[2:-2] + 1) % K, 0
    logits[-2:, 0] = 1.0
    return logits.requires_grad_(), targets


@every
def test_a_class_that_cannot_be_is_the_limit_of_a_low_logit(loss: Callable, options: dict) -> None:
    """Values are those of a logit of -1e12, or infinite where that is huge; gradients are finite and the same."""
    for rows in (slice(0, 2), slice(2, N)):
        found = []
        for finite in (False, True):
            logits, targets = with_impossible(finite)
            value = loss(logits, targets, **options, reduction="none")
            of_the_set = options.get("level") == "set"
            (value if of_the_set else value[rows]).sum().backward()
            found.append((value.detach(), logits.grad))
        (exact, gradient), (limit, expected) = found
        assert not exact.isnan().any()
        assert torch.equal(exact.isinf(), limit > 1e9)
        torch.testing.assert_close(exact[limit <= 1e9], limit[limit <= 1e9], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9)


@every
def test_no_examples_are_pytorchs_nan(loss: Callable, options: dict) -> None:
    if options.get("level") == "set":
        return  # its mean is over classes
    logits, targets = examples()
    own = {
        name: value[:0] if isinstance(value, torch.Tensor) and len(value) == N else value
        for name, value in options.items()
    }
    if "others" in own:
        own["others"] = tuple(z[:0] for z in own["others"])
    assert loss(logits[:0], targets[:0], **own).isnan()
    assert loss(logits[:0], targets[:0], **own, reduction="sum") == 0
    assert loss(logits[:0], targets[:0], **own, reduction="none").shape == (0,)


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss: Callable, options: dict, dtype: torch.dtype) -> None:
    logits, targets = examples(dtype)
    value = loss(logits, targets, **options)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(logits.float(), targets, **options))


@every
def test_views_and_two_classes(loss: Callable, options: dict) -> None:
    logits, targets = examples()
    rows = torch.stack([logits, -logits], 2)[..., 0]
    columns = torch.stack([targets, -targets], 1)[:, 0]
    assert not rows.is_contiguous()
    assert not columns.is_contiguous()
    torch.testing.assert_close(loss(rows, columns, **options), loss(logits, targets, **options))
    two = {
        name: value[..., :2] if isinstance(value, torch.Tensor) and value.shape[-1] == K else value
        for name, value in options.items()
    }
    if "others" in two:
        two["others"] = tuple(z[:, :2] for z in two["others"])
    assert torch.autograd.gradcheck(lambda z: loss(z, targets % 2, **two), logits[:, :2].clone().requires_grad_())


@every
def test_works_under_vmap_grad_and_compile(loss: Callable, options: dict) -> None:
    logits, targets = examples()
    batch, labels = torch.stack([logits, logits.flip(0)]), torch.stack([targets, targets.flip(0)])
    each = torch.stack([loss(z, y, **options) for z, y in zip(batch, labels, strict=True)])
    mapped = torch.func.vmap(lambda z, y: loss(z, y, **options))(batch, labels)
    torch.testing.assert_close(mapped, each)
    free = logits.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(free, targets, **options), free)
    torch.testing.assert_close(torch.func.grad(lambda z: loss(z, targets, **options))(logits), expected)
    torch.compiler.reset()
    compiled = torch.compile(lambda z, y: loss(z, y, **options), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, targets), each[0])


@every
def test_works_under_autocast(loss: Callable, options: dict) -> None:
    logits, targets = examples(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = loss(logits, targets, **options)
    torch.testing.assert_close(mixed.float(), loss(logits, targets, **options), rtol=1e-5, atol=1e-5)


@every
def test_what_is_no_problem_is_refused(loss: Callable, options: dict) -> None:
    logits, targets = examples()
    wrong = [
        (logits[0, 0], targets),
        (logits[:, :1], targets * 0),
        (logits.long(), targets),
        (logits, targets[:-1]),
        (logits, targets.float()),
        (logits, targets + K),
        (logits, targets - K),
    ]
    for bad_logits, bad_targets in wrong:
        with pytest.raises(ValueError, match="must"):
            loss(bad_logits, bad_targets, **options)
    with pytest.raises(ValueError, match=r"reduction|supported"):
        loss(logits, targets, **{**options, "reduction": "median"})


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (losses.cross_entropy, {"label_smoothing": 1.1}),
        (losses.logit_adjusted, {"prior": PRIOR[1:]}),
        (losses.logit_adjusted, {"prior": PRIOR - PRIOR}),
        (losses.focal, {"gamma": -1.0}),
        (losses.gce, {"q": 0.0}),
        (losses.gce, {"q": 1.1}),
        (losses.truncated_gce, {"k": 1.0}),
        (losses.truncated_gce, {"kept": torch.ones(N)}),
        (losses.reverse_ce, {"A": 4.0}),
        (losses.symmetric_ce, {"alpha": -0.1, "beta": 1.0}),
        (losses.symmetric_ce, {"alpha": 0.1, "beta": 1.0, "A": 0.0}),
        (losses.rll, {"alpha": 0.0}),
        (losses.jensen_shannon, {"weights": (0.5, 0.6)}),
        (losses.jensen_shannon, {"weights": (0.0, 1.0)}),
        (losses.jensen_shannon, {"weights": (0.2, 0.3, 0.5)}),
        (losses.agce, {"a": 0.0, "q": 1.0}),
        (losses.aul, {"a": 1.0, "p": 1.0}),
        (losses.knowledge_distillation, {"teacher_logits": PRIOR, "temperature": 1.0, "weight": 0.5}),
        (losses.knowledge_distillation, {"teacher_logits": torch.ones(N, K), "temperature": 0.0, "weight": 0.5}),
        (losses.knowledge_distillation, {"teacher_logits": torch.ones(N, K), "temperature": 1.0, "weight": 2.0}),
        (region.dice, {"level": "batch", "square": True, "smooth": 1.0}),
        (region.dice, {"level": "set", "square": True, "smooth": -1.0}),
        (region.dice, {"level": "set", "square": True, "smooth": 1.0, "alpha": -1.0}),
        (region.tversky, {"level": "set", "smooth": 1.0, "a": 0.0, "b": 0.0}),
    ],
)
def test_parameters_out_of_range_are_refused(loss: Callable, options: dict) -> None:
    with pytest.raises(ValueError, match="must"):
        loss(*examples(), **options)


# Agreement with PyTorch and torchvision.


def test_equal_to_pytorch() -> None:
    logits, targets = examples()
    same = torch.testing.assert_close
    same(losses.cross_entropy(logits, targets), F.cross_entropy(logits, targets))
    smooth = losses.cross_entropy(logits, targets, label_smoothing=0.2)
    by_hand = -(0.8 * F.one_hot(targets, K) + 0.2 / K) * logits.log_softmax(1)
    same(smooth, by_hand.sum(1).mean())
    same(losses.weston_watkins(logits, targets, margin=0.5), K * F.multi_margin_loss(logits, targets, margin=0.5))
    adjusted = logits + 0.7 * PRIOR.double().log()
    same(losses.logit_adjusted(logits, targets, prior=PRIOR, tau=0.7), F.cross_entropy(adjusted, targets))
    same(losses.mse(logits, targets), K * F.mse_loss(logits.softmax(1), F.one_hot(targets, K).double()))
    same(losses.mae(logits, targets), K * F.l1_loss(logits.softmax(1), F.one_hot(targets, K).double()))


def test_focal_of_two_classes_is_torchvisions() -> None:
    logits, targets = examples()[0][:, :2], examples()[1] % 2
    expected = sigmoid_focal_loss(logits[:, 1] - logits[:, 0], targets.double(), alpha=-1, gamma=1.7, reduction="mean")
    torch.testing.assert_close(losses.focal(logits, targets, gamma=1.7), expected)


# By hand and in the limits.


def test_margins_by_hand() -> None:
    logits, targets = torch.tensor([[2.0, 1.5, -1.0], [0.0, 3.0, 2.5]]), torch.tensor([0, 2])
    assert losses.crammer_singer(logits, targets, reduction="none").tolist() == [0.5, 1.5]
    assert losses.weston_watkins(logits, targets, reduction="none").tolist() == [0.5, 1.5]
    assert losses.weston_watkins(logits, targets, margin=4.0, reduction="none").tolist() == [4.5, 6.0]


def test_limits_of_gce() -> None:
    logits, targets = examples()
    torch.testing.assert_close(
        losses.gce(logits, targets, q=1e-9), F.cross_entropy(logits, targets), rtol=1e-7, atol=1e-7
    )
    torch.testing.assert_close(losses.gce(logits, targets, q=1.0), losses.mae(logits, targets) / 2)
    p = logits.softmax(1).gather(1, targets[:, None])
    torch.testing.assert_close(losses.gce(logits, targets, q=0.3), ((1 - p**0.3) / 0.3).mean())


def test_truncation() -> None:
    logits, targets = examples()
    kept = logits.softmax(1).gather(1, targets[:, None]).squeeze(1) > 0.2
    by_p = losses.truncated_gce(logits, targets, k=0.2, reduction="none")
    torch.testing.assert_close(by_p, losses.truncated_gce(logits, targets, k=0.2, kept=kept, reduction="none"))
    assert 0 < int(kept.sum()) < N
    torch.testing.assert_close(by_p[~kept], torch.full_like(by_p[~kept], (1 - 0.2**0.7) / 0.7))


def test_limits_of_jensen_shannon() -> None:
    logits, targets = examples()
    near_ce = losses.jensen_shannon(logits, targets, weights=(1e-7, 1 - 1e-7))
    torch.testing.assert_close(near_ce, F.cross_entropy(logits, targets), rtol=1e-4, atol=1e-4)
    rest = 1e-9
    near_mae = losses.jensen_shannon(logits, targets, weights=(1 - rest, rest), reduction="none")
    # The limit 1 - p is reached as slowly as 1 / log(1 - w_1): hold it against the next term of the expansion too.
    p = logits.softmax(1).gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(near_mae, 1 - p + (1 - p + p * p.log()) / -math.log(rest), rtol=1e-6, atol=1e-6)


def test_jensen_shannon_by_definition() -> None:
    logits, targets = examples()
    e, p, other = F.one_hot(targets, K).double(), logits.softmax(1), LOSSES["generalised_js"][1]["others"][0]
    weights, parts = (0.2, 0.3, 0.5), (e, p, other.double().softmax(1))

    def entropy(q: torch.Tensor) -> torch.Tensor:
        return torch.special.entr(q).sum(1)

    mixture = sum(w * q for w, q in zip(weights, parts, strict=True))
    expected = entropy(mixture) - sum(w * entropy(q) for w, q in zip(weights, parts, strict=True))
    measured = losses.jensen_shannon(logits, targets, weights=weights, others=(other.double(),), reduction="none")
    torch.testing.assert_close(measured, expected / -(0.8 * math.log(0.8)))


def test_other_limits() -> None:
    logits, targets = examples()
    ce = F.cross_entropy(logits, targets)
    torch.testing.assert_close(losses.focal(logits, targets, gamma=0.0), ce)
    torch.testing.assert_close(losses.poly1(logits, targets, epsilon=0.0), ce)
    torch.testing.assert_close(losses.poly1(logits, targets, epsilon=3.0), ce + 1.5 * losses.mae(logits, targets))
    torch.testing.assert_close(
        losses.symmetric_ce(logits, targets, alpha=0.5, beta=0.25), 0.5 * ce + 0.5 * losses.mae(logits, targets)
    )
    torch.testing.assert_close(losses.agce(logits, targets, a=0.6, q=1.0), losses.mae(logits, targets) / 2)
    torch.testing.assert_close(losses.aul(logits, targets, a=5.5, p=1.0), losses.mae(logits, targets) / 2)


def test_sums_over_all_targets_of_the_symmetric_losses() -> None:
    rows = torch.ones(N, dtype=torch.float64)
    for sums, expected in [
        (each_target(losses.mae).sum(1), 2 * (K - 1)),
        (each_target(losses.reverse_ce, A=-4.0).sum(1), 4 * (K - 1)),
        (each_target(losses.normalised_ce).sum(1), 1),
        (each_target(losses.rll, alpha=0.1).sum(1), K * math.log(11)),
    ]:
        torch.testing.assert_close(sums, expected * rows, rtol=1e-12, atol=0)


def test_mixtures_are_sums() -> None:
    logits, targets = examples()
    nce = losses.normalised_ce(logits, targets)
    for measured, passive in [
        (losses.nce_rce(logits, targets, alpha=2.0, beta=0.5), losses.reverse_ce(logits, targets)),
        (
            losses.nce_agce(logits, targets, alpha=2.0, beta=0.5, a=6.0, q=1.5),
            losses.agce(logits, targets, a=6.0, q=1.5),
        ),
        (losses.nce_aul(logits, targets, alpha=2.0, beta=0.5, a=6.3, p=1.5), losses.aul(logits, targets, a=6.3, p=1.5)),
    ]:
        torch.testing.assert_close(measured, 2 * nce + 0.5 * passive)


def test_distillation() -> None:
    logits, targets = examples()
    teacher = logits.flip(1)

    def distilled(weight: float, temperature: float = 1.0, z: torch.Tensor = logits) -> torch.Tensor:
        return losses.knowledge_distillation(z, targets, teacher_logits=teacher, temperature=temperature, weight=weight)

    torch.testing.assert_close(distilled(0.0), F.cross_entropy(logits, targets))
    soft = F.cross_entropy(logits, teacher.softmax(1)) - F.cross_entropy(teacher, teacher.softmax(1))
    torch.testing.assert_close(distilled(1.0), soft)
    assert float(distilled(1.0, 3.0, teacher)) == pytest.approx(0, abs=1e-12)
    # T -> infinity: T^2 KL -> ||z - v||^2 / (2 K) of centred logits, so that the gradient does not vanish.
    gap = (logits - logits.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    torch.testing.assert_close(distilled(1.0, 1e4), gap.square().sum(1).mean() / (2 * K), rtol=1e-3, atol=0.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@every
def test_cuda_agrees_with_the_cpu(loss: Callable, options: dict) -> None:
    logits, targets = examples()
    moved = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    if "others" in moved:
        moved["others"] = tuple(z.cuda() for z in options["others"])
    torch.testing.assert_close(loss(logits.cuda(), targets.cuda(), **moved).cpu(), loss(logits, targets, **options))
