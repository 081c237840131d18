"""The kernels on a GPU against the loss in float64: what Triton's interpreter on the CPU cannot show."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from suites.cut_cross_entropy.exact import EPS
from suites.cut_cross_entropy.method import linear_cross_entropy

SOFTCAP, Z_LOSS = 5.0, 1e-3


def fused_kernels(*, seed: int, device: torch.device, n: int, d: int, v: int) -> dict[str, float]:
    """Relative errors (in norm, of the loss and all gradients) of the kernels in each dtype, and what they must keep.

    Embeddings and targets are slices of tables, a fifth of the tokens is ignored, classes have a bias and a softcap.
    """
    rng = torch.Generator(device).manual_seed(seed)
    tables = [torch.randn(shape, device=device, generator=rng) for shape in ((d, n + 3), (v, d), (v,))]
    tables[0] *= 2 / d**0.5
    targets = torch.randint(v, (n + 3, 2), device=device, generator=rng)[:, 1]
    targets[torch.rand(n + 3, device=device, generator=rng) < 0.2] = -100

    def error(dtype: torch.dtype, **options: object) -> float:
        leaves = [table.to(dtype).requires_grad_() for table in tables]
        wide = [leaf.detach().double().requires_grad_() for leaf in leaves]
        e, c, bias = leaves[0].T, leaves[1], leaves[2]
        loss = linear_cross_entropy(
            e, c, targets, bias=bias, shift=3, softcap=SOFTCAP, z_loss=Z_LOSS, gradients="backward", **options
        )
        logits = SOFTCAP * ((wide[0].T[:-3] @ wide[1].T + wide[2]) / SOFTCAP).tanh()
        kept = targets[3:] != -100
        truth = F.cross_entropy(logits, targets[3:]) + Z_LOSS * logits.logsumexp(1)[kept].square().mean()
        return relative([loss, *torch.autograd.grad(loss, leaves)], [truth, *torch.autograd.grad(truth, wide)])

    exact = {"filter_eps": None, "accumulate": "float32"}
    return {
        "float32_error": error(torch.float32, **exact),
        "half_error": max(error(dtype, **exact) for dtype in (torch.bfloat16, torch.float16)),
        "accumulated_error": error(torch.bfloat16, filter_eps=None),
        **filtering_on_gpu(tables, targets),
        **under_autocast(tables, targets),
    }


@torch.no_grad()
def relative(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """The largest ||found - expected|| / ||expected||."""
    return max(float((a.double() - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True))


def filtering_on_gpu(tables: list[torch.Tensor], targets: torch.Tensor) -> dict[str, float]:
    """By how much filtering exceeds the bound eps sum_i g_i |E_i| on dC, and dE where ignored."""
    e, c = tables[0].T.contiguous().requires_grad_(), tables[1].clone().requires_grad_()

    def gradients(eps: float | None) -> tuple[torch.Tensor, torch.Tensor]:
        loss = linear_cross_entropy(e, c, targets, filter_eps=eps, gradients="backward")
        return torch.autograd.grad(loss, (e, c))

    (of_e, whole), (_, part) = gradients(None), gradients(EPS)
    valid = targets != -100
    bound = EPS * e.detach()[valid].abs().sum(0) / valid.sum()
    excess = ((part - whole).abs() - bound).max() / whole.abs().max()
    return {"filter_excess": float(excess), "ignored_gradient": float(of_e[~valid].abs().max())}


def under_autocast(tables: list[torch.Tensor], targets: torch.Tensor) -> dict[str, float]:
    """Float32 inputs under autocast: the loss is that of rounded inputs, digit by digit, the gradients are float32."""
    e, c = tables[0].T.contiguous().requires_grad_(), tables[1].clone().requires_grad_()
    with torch.autocast(e.device.type, torch.bfloat16):
        loss = linear_cross_entropy(e, c, targets, gradients="backward")
    rounded = linear_cross_entropy(e.bfloat16(), c.bfloat16(), targets, gradients="backward")
    wrong = sum(one.dtype != torch.float32 for one in torch.autograd.grad(loss, (e, c)))
    return {"autocast_gap": float((loss - rounded).detach().abs()) + wrong}


def far_offsets(*, seed: int, device: torch.device, n: int, d: int, v: int) -> dict[str, float]:
    """Relative error in bfloat16 where V D exceeds 2^31: of the loss, of dE, and of dC in its first and last rows."""
    rng = torch.Generator(device).manual_seed(seed)
    e, c = (torch.randn(size, d, device=device, generator=rng, dtype=torch.bfloat16) for size in (n, v))
    e.mul_(d**-0.5).requires_grad_()
    c.requires_grad_()
    x = torch.randint(v, (n,), device=device, generator=rng)
    x[: n // 2] += v - int(x[: n // 2].max()) - 1  # some of the last classes are targets
    loss = linear_cross_entropy(e, c, x, filter_eps=None)
    of_e, of_c = torch.autograd.grad(loss, (e, c))
    with torch.no_grad():
        wide, rows = e.double(), min(4096, v)
        logits = torch.cat([wide @ part.double().T for part in c.split(rows)], 1)
        truth = F.cross_entropy(logits, x)
        d_logits = (logits.softmax(1) - F.one_hot(x, v)) / n
        true_e = sum(a @ part.double() for a, part in zip(d_logits.split(rows, 1), c.split(rows), strict=True))
        ends = [slice(0, rows), slice(v - rows, v)]
        true_c = [d_logits[:, end].T @ wide for end in ends]
    return {"far_error": relative([loss, of_e, *(of_c[end] for end in ends)], [truth, true_e, *true_c])}
