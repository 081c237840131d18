"""ViT-Tiny on CIFAR on a GPU, the activation replaced in every MLP; and CRReLU as PyTorch's compiler makes it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

import reference
from baselines.distillation import normalised
from baselines.timing import interleaved
from baselines.training import cosine, crop_and_flip, fit, step_count, supervised
from baselines.transformer_models import small_vit
from suites.crrelu.method import CRReLU, crrelu, parameter_groups

RATE, DECAY, BATCH, SMOOTHING = 1e-3, 0.05, 256, 0.1
LAYERS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "crrelu": CRReLU}


def vit(*, arm: str, seed: int, device: torch.device, data: str, epochs: int, rows: int) -> dict[str, float]:
    """One activation on at most `rows` training and test images; mean eps and share of negative ones for CRReLU."""
    train, test = (reference.load(data, part) for part in ("train", "test"))
    known = train.images[:rows]
    images, labels = normalised(known, known).to(device), train.labels[:rows].to(device)
    tested, answers = normalised(test.images[:rows], known).to(device), test.labels[:rows].to(device)
    network = with_activation(arm, len(train.classes), seed).to(device)
    groups = parameter_groups(network, weight_decay=DECAY)
    batch = min(BATCH, len(labels))
    steps = step_count(len(labels), batch, epochs, drop_last=True)
    objective = supervised(lambda scores, y: F.cross_entropy(scores.float(), y, label_smoothing=SMOOTHING))
    fit(
        network, images, labels, objective,
        epochs=epochs, batch_size=batch, drop_last=True, seed=seed, augment=crop_and_flip(), clip_norm=1.0,
        precision=torch.bfloat16, optimizer=lambda _: torch.optim.AdamW(groups, lr=RATE),
        schedule=cosine(steps, warmup=steps // 20),
    )  # fmt: skip
    network.eval()
    with torch.no_grad():
        found = torch.cat([network(part).argmax(1) for part in tested.split(500)])
    eps = torch.stack([one.eps.detach() for one in network.modules() if isinstance(one, CRReLU)] or [torch.zeros(())])
    return {
        "accuracy": float((found == answers).double().mean()),
        "eps": float(eps.mean()), "share_negative": float((eps < 0).double().mean()),
    }  # fmt: skip


vit_jpeg = vit


def with_activation(arm: str, classes: int, seed: int) -> nn.Module:
    """ViT-Tiny for 32 x 32 images, weights by seed, the same for all arms."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = small_vit(classes, depth=12)
    for block in network.blocks:
        block.mlp.act = LAYERS[arm]()  # type: ignore[union-attr]
    return network


def cost_compiled(*, seed: int) -> dict[str, list[float]]:
    """Seconds of forward and backward, 1,024 x 2,048 in float32 on a CPU, in turn with GELU."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1024, 2048, generator=generator).requires_grad_()
    grad, eps = torch.randn(1024, 2048, generator=generator), torch.tensor(0.01, requires_grad=True)
    compiled = torch.compile(crrelu)
    return interleaved(
        {
            "seconds": lambda: torch.autograd.grad(compiled(x, eps), (x, eps), grad),
            "seconds_of_gelu": lambda: torch.autograd.grad(F.gelu(x), x, grad),
        },
        rounds=11,
    )
