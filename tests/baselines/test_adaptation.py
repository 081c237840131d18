"""Test-time adaptation baselines, by hand and on a small net."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from baselines.adaptation import (
    BatchStatistics,
    MeanTeacher,
    Source,
    Tent,
    cross_entropy,
    error_rate,
    online_errors,
    reverse_kl,
    squared_error,
    update_average,
    use_batch_statistics,
)
from baselines.models import conv_net

IMAGES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def sgd(parameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


@pytest.fixture
def model() -> nn.Module:
    """A network whose running statistics are not those of IMAGES."""
    torch.manual_seed(0)
    network = conv_net(10, (4, 6)).train()
    for _ in range(3):
        network(torch.randn(20, 1, 8, 8))
    return network


def adapters(model: nn.Module) -> list:
    return [
        Source(model),
        BatchStatistics(model),
        Tent(model, sgd),
        MeanTeacher(model, cross_entropy, sgd, 0.9),
        MeanTeacher(model, squared_error, sgd, 0.9, augment=lambda x: x.flip(-1)),
    ]


def test_no_adapter_touches_the_model_or_gives_a_gradient(model: nn.Module) -> None:
    before = copy.deepcopy(model.state_dict())
    for adapter in adapters(model):
        logits = [adapter(IMAGES) for _ in range(2)]
        assert logits[0].shape == (6, 10)
        assert not logits[0].requires_grad
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_first_predictions_are_those_of_the_unadapted_model(model: nn.Module) -> None:
    source, batch, tent, teacher, _ = (adapter(IMAGES) for adapter in adapters(model))
    torch.testing.assert_close(source, model.eval()(IMAGES))
    torch.testing.assert_close(batch, model.train()(IMAGES))
    torch.testing.assert_close(tent, batch)
    torch.testing.assert_close(teacher, 2 * batch)
    assert not torch.allclose(source, batch, atol=1e-2)


def test_batch_statistics_by_hand() -> None:
    norm = use_batch_statistics(nn.BatchNorm1d(1, affine=False)).eval()
    out = norm(torch.tensor([[1.0], [3.0]]))
    torch.testing.assert_close(out, torch.tensor([[-1.0], [1.0]]), atol=1e-4, rtol=0)


def test_tent_moves_scales_and_shifts_only_towards_less_entropy(model: nn.Module) -> None:
    tent = Tent(model, sgd)
    before = {name: p.clone() for name, p in tent.model.named_parameters()}
    entropies = []
    for _ in range(20):
        logits = tent(IMAGES)
        entropies.append(float(cross_entropy(logits, logits).mean()))
    assert entropies[-1] < entropies[0]
    moved = {name for name, p in tent.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"features.1.weight", "features.1.bias", "features.5.weight", "features.5.bias"}
    with pytest.raises(ValueError, match="no normalisation"):
        Tent(nn.Linear(2, 2), sgd)


def test_tent_step_by_hand() -> None:
    """Two samples, BatchNorm to -+1, so z = (w s + b, 0): dH/dz_1 = -p (1 - p) z_1 per sample."""
    network = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0], [0.0]]))
        network[0].bias.fill_(0.5)
    tent = Tent(network, sgd)
    tent(torch.tensor([[-1.0], [1.0]]))
    sides = torch.tensor([-1.0, 1.0])
    z = sides + 0.5
    gradient = -z.sigmoid() * (1 - z.sigmoid()) * z
    torch.testing.assert_close(tent.model[0].bias, 0.5 - 0.1 * gradient.mean().view(1), atol=1e-4, rtol=0)
    torch.testing.assert_close(tent.model[0].weight, 1 - 0.1 * (gradient * sides).mean().view(1), atol=1e-4, rtol=0)


def test_mean_teacher_step_by_hand() -> None:
    """A linear model without agreement to lose: the student moves by the consistency, the teacher by (1 - m) of it."""
    network = nn.Linear(2, 2, bias=False)
    start = network.weight.detach().clone()
    adapter = MeanTeacher(network, lambda student, teacher: student.sum(-1), sgd, 0.75, augment=lambda x: 3 * x)
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert torch.equal(adapter(inputs), 2 * inputs @ start.T)
    step = 0.1 * (0.5 + 0.5 * 3) * inputs.mean(0).expand(2, 2)  # d mean(sum z) / dW = mean x, and thrice for 3 x
    torch.testing.assert_close(adapter.student.weight, start - step)
    torch.testing.assert_close(adapter.teacher.weight, start - 0.25 * step)


def test_average_by_hand() -> None:
    slow, fast = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    with torch.no_grad():
        fast.weight.fill_(3.0)
        fast.running_mean.fill_(7.0)
    update_average(slow, fast, 0.75)
    assert slow.weight.item() == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert slow.running_mean.item() == 0


def test_losses_by_hand() -> None:
    student, teacher = torch.tensor([[0.25, 0.75]]).log(), torch.tensor([[0.5, 0.5]]).log()
    by_hand = torch.tensor([0.25, 0.75]).log()
    torch.testing.assert_close(cross_entropy(student, teacher), -by_hand.mean().view(1))
    torch.testing.assert_close(squared_error(student, teacher), torch.tensor([2 * 0.25**2]))
    divergence = 0.25 * by_hand[0] + 0.75 * by_hand[1] + torch.tensor(2.0).log()
    torch.testing.assert_close(reverse_kl(student, teacher), divergence.view(1))


@pytest.mark.parametrize("loss", [cross_entropy, reverse_kl, squared_error])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_a_class_that_cannot_be_is_as_if_it_were_not_there(loss, dtype: torch.dtype) -> None:
    narrow = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    wide = nn.functional.pad(narrow, (0, 1), value=-torch.inf).requires_grad_()
    found = loss(wide[0], wide[1])
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(found, loss(narrow[0], narrow[1]))
    gradient = torch.autograd.grad(found.sum(), wide)[0]
    assert gradient.isfinite().all()
    assert not gradient[..., -1].any()


def test_cross_entropy_has_the_gradient_of_kl() -> None:
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    student.requires_grad_()
    forward_kl = nn.functional.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="none").sum(1)
    gradients = [torch.autograd.grad(loss.sum(), student)[0] for loss in (forward_kl, cross_entropy(student, teacher))]
    torch.testing.assert_close(*gradients)


def test_errors_are_counted_per_batch() -> None:
    stream = [(torch.eye(3), torch.tensor([0, 1, 0])), (torch.eye(3), torch.arange(3))]
    assert online_errors(lambda x: x, stream) == pytest.approx([1 / 3, 0])
    stream.append((torch.eye(3)[:1], torch.tensor([2])))
    assert error_rate(lambda x: x, stream) == pytest.approx(2 / 7)
