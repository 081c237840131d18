"""The exact tier in float64: the bound against optimal transport, its gradient and geometry, the released losses.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from baselines import oracles
from baselines.oracles import Worst, gap, other_defaults
from baselines.tensor_sizes import LargestTensor
from baselines.timing import interleaved
from suites.emo import method
from suites.emo.method import (
    VARIANTS,
    EarthMoverLoss,
    directions,
    earth_mover_bound,
    emo_loss,
    transport_bound,
    transport_costs,
)

ROWS = 6
CLIPPED = 3.0
"""The largest weight of the transport term in the continual fine-tuning."""


@dataclass(frozen=True)
class Problem:
    """Logits (ROWS, V), next tokens (ROWS,), a second distribution p (ROWS, V), a cost embedding (V, H)."""

    logits: torch.Tensor
    tokens: torch.Tensor
    p: torch.Tensor
    embedding: torch.Tensor

    @property
    def q(self) -> torch.Tensor:
        return self.logits.softmax(1)

    @property
    def costs(self) -> torch.Tensor:
        """C (V, V), by sums over pairs of rows."""
        rows = self.embedding.tolist()
        norms = [math.sqrt(math.fsum(v * v for v in row)) for row in rows]
        return torch.tensor(
            [
                [1 - math.fsum(u * v for u, v in zip(a, b, strict=True)) / (s * t)
                 for b, t in zip(rows, norms, strict=True)]
                for a, s in zip(rows, norms, strict=True)
            ],
            dtype=torch.float64,
        )  # fmt: skip

    @property
    def one_hot(self) -> torch.Tensor:
        return F.one_hot(self.tokens, self.logits.shape[1]).double()

    def demd(self) -> torch.Tensor:
        """sum_i Q_i C_ix from the whole table of costs."""
        return (self.q * self.costs[self.tokens]).sum(1)


def problems(seed: int, count: int, most: int = 12) -> Iterator[Problem]:
    """3 to `most` tokens, embeddings of 2 to 6 numbers whose rows have lengths of 0.1 to 10."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        vocabulary, width = (int(torch.randint(*ends, (), generator=generator)) for ends in ((3, most + 1), (2, 7)))
        normal = [
            torch.randn(rows, columns, generator=generator, dtype=torch.float64)
            for rows, columns in ((ROWS, vocabulary), (ROWS, vocabulary), (vocabulary, width))
        ]
        lengths = 10 ** (2 * torch.rand(vocabulary, 1, generator=generator, dtype=torch.float64) - 1)
        yield Problem(
            2 * normal[0],
            torch.randint(vocabulary, (ROWS,), generator=generator),
            (1.5 * normal[1]).softmax(1),
            F.normalize(normal[2], dim=1) * lengths,
        )


def gradient(value: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(value.sum(), at)[0]


def each(problem: Problem, logits: torch.Tensor, variant: str = "emo") -> torch.Tensor:
    """The loss of every row."""
    return emo_loss(logits, problem.tokens, embedding=problem.embedding, variant=variant, reduction="none")


def definition(*, seed: int) -> dict[str, float]:
    """The bound by three computations, its gradient by two formulas, and whom it pushes, unlike cross-entropy."""
    worst, least = Worst(), Worst()
    for one in problems(seed, 20):
        free = one.logits.clone().requires_grad_()
        q, c, x = one.q, one.costs[one.tokens], one.tokens
        bound = earth_mover_bound(free, x, embedding=one.embedding)
        slope = gradient(bound, free)
        ce = gradient(F.cross_entropy(free, x, reduction="none"), free)
        score = torch.einsum("ni,nik->nk", q * c, torch.eye(q.shape[1], dtype=torch.float64) - q[:, None])
        dense = torch.einsum("ni,ij,nj->n", q, one.costs, one.p)
        others = ~one.one_hot.bool()
        nearer = c < bound.detach()[:, None]
        worst.note(
            cost_gap=gap(transport_costs(one.embedding, x), c),
            bilinear_gap=gap(transport_bound(q, one.p, embedding=one.embedding), dense),
            gather_gap=max(
                gap(bound, one.demd()), gap(transport_bound(q, one.one_hot, embedding=one.embedding), bound)
            ),
            gradient_gap=gap(slope, q * (c - one.demd()[:, None])),
            score_gap=gap(slope, score),
            wrong_pushes=float(((slope < 0) != nearer).sum()),
            pushed_by_ce=float((ce < 0)[others].sum()),
        )
        least.note(pushed_by_bound=-float((slope < 0)[others].sum()))
    return worst | {name: -value for name, value in least.items()}


def earth_mover(q: torch.Tensor, p: torch.Tensor, costs: torch.Tensor) -> float:
    """The least cost of a coupling of q and p, (V,) each, by linear programming over its V^2 entries."""
    from scipy.optimize import linprog

    count = len(q)
    margins = np.zeros((2 * count, count * count))
    for i in range(count):
        margins[i, i * count : (i + 1) * count] = 1  # what leaves token i
        margins[count + i, i::count] = 1  # what arrives there
    wanted = np.concatenate([q.numpy(), p.numpy()])
    # The last constraint follows from the others; left in, rounding makes them contradict each other.
    found = linprog(costs.flatten().numpy(), A_eq=margins[:-1], b_eq=wanted[:-1], bounds=(0, None), method="highs")
    return float(found.fun)


def transport(*, seed: int) -> dict[str, float]:
    """The bound against exact optimal transport."""
    worst, least = Worst(), Worst()
    for one in problems(seed, 12):
        q, c = one.q, one.costs
        bound = transport_bound(q, one.p, embedding=one.embedding)
        of_text = earth_mover_bound(one.logits, one.tokens, embedding=one.embedding)
        to_itself = transport_bound(one.p, one.p, embedding=one.embedding)
        for row in range(2):
            exact = earth_mover(q[row], one.p[row], c)
            worst.note(
                excess=exact - float(bound[row]),
                one_hot_gap=abs(earth_mover(q[row], one.one_hot[row], c) - float(of_text[row])),
            )
        least.note(bound_to_itself=-float(to_itself.min()))
    half = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    orthogonal = transport_bound(half, half, embedding=torch.eye(2, dtype=torch.float64))
    return worst | {"bound_to_itself": -least["bound_to_itself"], "orthogonal_halves": float(orthogonal)}


def geometry(*, seed: int) -> dict[str, float]:
    """Range, invariances, zeros, and the bound without meaning: all tokens orthogonal."""
    worst = Worst()
    generator = torch.Generator().manual_seed(seed)
    for one in problems(seed, 20):
        vocabulary, width = one.embedding.shape
        value = earth_mover_bound(one.logits, one.tokens, embedding=one.embedding)
        rotation = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]
        factors = 10 ** (4 * torch.rand(vocabulary, 1, generator=generator, dtype=torch.float64) - 2)
        free = one.logits.clone().requires_grad_()
        flat = earth_mover_bound(free, one.tokens, embedding=torch.eye(vocabulary, dtype=torch.float64))
        q_x = one.q.gather(1, one.tokens[:, None])
        ce = F.cross_entropy(free, one.tokens, reduction="none")
        moved = earth_mover_bound(one.logits, one.tokens, embedding=(one.embedding * factors) @ rotation)
        # Every other token becomes a multiple of the first one's direction; the rest cannot be.
        collinear = one.embedding.clone()
        collinear[::2] = collinear[0] * torch.linspace(0.1, 10, len(collinear[::2]), dtype=torch.float64)[:, None]
        apart = one.logits.clone()
        apart[:, 1::2] = -math.inf
        even = torch.zeros_like(one.tokens)
        parallel = earth_mover_bound(apart, even, embedding=collinear)
        opposite = torch.tensor([[1.0, 2.0], [-2.0, -4.0]], dtype=torch.float64)
        far = earth_mover_bound(torch.tensor([[-800.0, 0.0]], dtype=torch.float64), even[:1], embedding=opposite)
        worst.note(
            out_of_range=max(-float(value.min()), float(value.max()) - 2, gap(far, 2.0)),
            invariance_gap=gap(moved, value),
            flat_gap=gap(flat, (one.q - one.one_hot).abs().sum(1) / 2),
            flat_gradient_gap=gap(gradient(flat, free), q_x * gradient(ce, free)),
            collinear=gap(parallel),
        )  # fmt: skip
    return worst


def variants(*, seed: int) -> dict[str, float]:
    """Values and gradients of the released losses by their formulas, and which embedding each reads."""
    worst, clipped = Worst(), 0.0
    for one in problems(seed, 20):
        free = one.logits.clone().requires_grad_()
        mle, demd = F.cross_entropy(one.logits, one.tokens, reduction="none"), one.demd()
        of_target = one.q.gather(1, one.tokens[:, None])[:, 0]
        t = demd + of_target
        g_mle = one.q - one.one_hot
        g_demd = one.q * (one.costs[one.tokens] - demd[:, None])
        usual = demd > 1e-3
        weight = {"emo": mle / demd, "emo1_adaptive": mle / t, "emo1_clipped": (mle / t).clamp_max(CLIPPED)}
        clipped += float((mle / t > CLIPPED).sum())
        for name, w in weight.items():
            value = each(one, free, name)
            expected = 0.5 * (mle + w * (demd if name == "emo" else t))
            slope = 0.5 * (g_mle + w[:, None] * g_demd)
            apart = gap((value / expected - 1)[usual]), gap(gradient(value, free)[usual], slope[usual])
            worst.note(**{f"{name}_gap": max(apart)})
        worst.note(value_is_mle=max(gap((each(one, free, name) / mle - 1)[usual]) for name in ("emo", "emo1_adaptive")))
        for name in ("emo2_fixed", "emo2_adaptive"):
            value = each(one, free, name)
            slope = (t / mle)[:, None] * g_mle + g_demd
            worst.note(emo2_gap=max(gap(value, 2 * t), gap(gradient(value, free), slope)))
        shifted = (free.softmax(1) - (of_target[:, None] * one.one_hot)) @ directions(one.embedding)
        target_cost = 1 - (shifted * directions(one.embedding)[one.tokens]).sum(1)
        worst.note(shifted_gap=max(gap(target_cost, t), gap(gradient(target_cost, free), g_demd)))
    worst.note(emo1_clipped_gap=0.0 if clipped >= 10 else math.inf)
    return worst | {"followed": followed(next(problems(seed, 1)))}


def followed(one: Problem) -> float:
    """How many variants do not read the embedding that they should, or teach the output layer."""
    wrong = 0.0
    for name, variant in VARIANTS.items():
        head = one.embedding.clone().requires_grad_()
        loss = EarthMoverLoss(head, name)
        with torch.no_grad():
            head.copy_(head.flip(0))
        free = one.logits.clone().requires_grad_()
        value = loss(free, one.tokens)
        now, before = (emo_loss(one.logits, one.tokens, embedding=rows, variant=name) for rows in (head, one.embedding))
        # Values of two variants are MLE whatever the costs: gradients tell.
        slopes = [
            gradient(emo_loss(free, one.tokens, embedding=rows, variant=name), free) for rows in (head, one.embedding)
        ]
        wrong += gap(gradient(value, free), slopes[0 if variant.adaptive else 1]) > 1e-12
        wrong += gap(slopes[0], slopes[1]) < 1e-6
        wrong += bool(now.requires_grad) + bool(before.requires_grad)
        wrong += gap(value, now if variant.adaptive else before) > 1e-12
    return wrong + float([name for name, of in VARIANTS.items() if of.adaptive] != ["emo1_adaptive", "emo2_adaptive"])


def sure_tokens(*, seed: int) -> dict[str, float]:
    """What becomes of the losses where the target leads by 4 to 40 nats, in float64 and in float32."""
    worst, least = Worst(), Worst()
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(50, 8, generator=generator, dtype=torch.float64)
    tokens = torch.randint(50, (19,), generator=generator)
    lead = torch.linspace(4, 40, 19, dtype=torch.float64)
    noise = torch.randn(19, 50, generator=generator, dtype=torch.float64)
    logits = noise.scatter(1, tokens[:, None], noise.amax(1, keepdim=True) + lead[:, None])
    slopes: dict[str, torch.Tensor] = {}
    for name in ("emo", "emo1_adaptive", "emo2_fixed"):
        found = []
        for dtype in (torch.float64, torch.float32):
            free = logits.detach().to(dtype).requires_grad_()  # in float64 `to` is the same tensor
            value = emo_loss(free, tokens, embedding=embedding.to(dtype), variant=name, reduction="none")
            found.append(gradient(value, free).double())
            value = value.detach()
        slopes[name] = found[0]
        if name == "emo2_fixed":
            sizes = [one.abs().sum(1) for one in found]
            worst.note(emo2_float32_gap=gap((sizes[1] / sizes[0] - 1)[lead <= 20]))
            least.note(emo2_gradient=-float(sizes[0][lead <= 20].min()))
            worst.note(emo2_sure_value=float(value[lead == 20]))
    # Where what weights divide by falls below their guard, 1e-10, both terms still have one sign.
    mle = F.cross_entropy(logits, tokens, reduction="none")
    share = (emo_loss(logits, tokens, embedding=embedding, reduction="none") / mle)[lead <= 30]
    t = earth_mover_bound(logits, tokens, embedding=embedding) + logits.softmax(1).gather(1, tokens[:, None])[:, 0]
    ratio = emo_loss(logits, tokens, embedding=embedding, variant="emo2_fixed", reduction="none") / t
    ends = float(share.max()) - 1, 0.5 - float(share.min()), float(ratio.max()) - 2, 1 - float(ratio.min())
    worst.note(share_excess=max(ends))
    single = earth_mover_bound(logits.float(), tokens, embedding=embedding.float()).double()
    double = earth_mover_bound(logits, tokens, embedding=embedding)
    worst.note(float32_gap=gap(single / double - 1))
    # The share of the transport term in the gradient: what is left when that of cross-entropy is taken off.
    ce = logits.softmax(1) - F.one_hot(tokens, 50)
    pulls = {name: ((slopes[name] - 0.5 * ce).abs().sum(1) / (0.5 * ce).abs().sum(1))[lead <= 16] for name in slopes}
    worst.note(emo1_pull=float(pulls["emo1_adaptive"][-1]))
    least.note(emo_pull=-float(pulls["emo"].min()))
    return worst | {name: -value for name, value in least.items()}


def descend(slope: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor) -> torch.Tensor:
    """The distribution that 300 steps along a gradient in the logits reach, each number of it over Q_k, at most 1.

    That scaling (of the natural gradient) moves no point of rest, and vertices of the simplex are reached fast.
    """
    z = start
    for _ in range(300):
        z = z - 0.5 * (slope(z) / z.softmax(-1).clamp_min(1e-30)).clamp(-1, 1)
    return z.softmax(-1)


def minimisers(*, seed: int) -> dict[str, float]:
    """One context with a known distribution P of the next token, six tokens: where each loss leads, in 8 worlds.

    All worlds are trained at once, from Q = P: a loss whose optimum is P would stay there.
    """
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(8, 6, generator=generator, dtype=torch.float64).softmax(1)
    e = torch.randn(8, 6, 4, generator=generator, dtype=torch.float64)

    # All worlds side by side: of the 48 tokens, those of other worlds cannot be.
    tokens, world = torch.arange(48), torch.arange(48) // 6
    blocked = torch.where(world[:, None] == world, 0.0, -math.inf).double()
    embedding, weights = e.flatten(0, 1), p.flatten()

    def expected(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        """The gradient of the mean loss over P, (8, 6) -> (8, 6); a row for each world and next token."""

        def slope(z: torch.Tensor) -> torch.Tensor:
            free = z.detach().requires_grad_()
            rows = blocked + free.repeat(1, 8)[world]
            if name == "mle":
                value = F.cross_entropy(rows, tokens, reduction="none")
            elif name == "bound":
                value = earth_mover_bound(rows, tokens, embedding=embedding)
            else:
                value = emo_loss(rows, tokens, embedding=embedding, variant=name, reduction="none")
            return gradient(weights * value, free)

        return slope

    start = p.log()
    spoiled = start + torch.randn(8, 6, generator=generator, dtype=torch.float64)
    ends = {name: descend(expected(name), start) for name in ("bound", "emo", "emo2_fixed")}
    mle = descend(expected("mle"), spoiled)
    costs = torch.stack([transport_costs(one, torch.arange(6)) for one in e])
    price = torch.einsum("wij,wj->wi", costs, p)
    entropy = {name: -(q * q.clamp_min(1e-300).log()).sum(1) for name, q in {"p": p, **ends}.items()}
    apart = {name: (q - p).abs().sum(1) for name, q in ends.items()}
    return {
        "mle_distance": float((mle - p).abs().sum(1).max()),
        "vertex_gap": gap((ends["bound"] * price).sum(1), price.amin(1)),
        "bound_distance": float(apart["bound"].min()),
        "emo_distance": float(apart["emo"].min()), "emo2_distance": float(apart["emo2_fixed"].min()),
        "emo2_entropy_excess": float((entropy["emo2_fixed"] - entropy["p"]).max()),
    }  # fmt: skip


def extremes() -> dict[str, float]:
    """Logits of 1e4 and -inf, half precision, tokens that are left out, no examples, and nonsense."""
    wrong = 0.0
    e, x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -2.0]], dtype=torch.float64), torch.tensor([2, 1])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        z = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]], dtype=dtype, requires_grad=True)
        for name in VARIANTS:
            value = emo_loss(z, x, embedding=e.to(dtype), variant=name, reduction="none")
            slope = gradient(value, z)
            wrong += float((~value.isfinite()).sum() + (~slope.isfinite()).sum())
            wrong += value.dtype != torch.promote_types(dtype, torch.float32)
            none = emo_loss(z[:0], x[:0], embedding=e, variant=name, reduction="none")
            wrong += none.numel() + (none.dtype != value.dtype)
        wrong += transport_costs(e.to(dtype), x).dtype != torch.promote_types(dtype, torch.float32)
    impossible = torch.tensor([[0.0, 1.0, -math.inf]], dtype=torch.float64, requires_grad=True)
    for name, variant in VARIANTS.items():
        value = emo_loss(impossible, x[:1], embedding=e, variant=name)
        due = (
            math.inf
            if variant.emphasis == "mle"
            else 2 * float(earth_mover_bound(impossible.detach(), x[:1], embedding=e))
        )
        wrong += (gap(value, due) > 1e-12) + float((~gradient(value, impossible).isfinite()).sum())
        wide, many = (
            torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0)),
            torch.tensor([[0, -100, 2], [1, 1, -100]]),
        )
        kept = many != -100
        found = emo_loss(wide, many, embedding=e, variant=name)
        wrong += gap(found, emo_loss(wide[kept], many[kept], embedding=e, variant=name)) > 1e-6
        rows = emo_loss(wide, many, embedding=e, variant=name, reduction="none")
        wrong += (rows.shape != many.shape) + float((rows[~kept] != 0).sum())
        other = EarthMoverLoss(e, name, ignore_index=7)(wide, many.where(kept, 7))
        wrong += gap(other, found) > 1e-6
    hidden = torch.tensor([[0.3, -math.inf, 1.0]], dtype=torch.float64)
    wrong += (
        gap(
            earth_mover_bound(hidden, x[:1], embedding=e),
            earth_mover_bound(hidden[:, ::2], x[:1] - 1, embedding=e[::2]),
        )
        > 1e-12
    )
    parallel = torch.linspace(0.1, 9, 90)[:, None] * torch.tensor([[0.3, -1.7, 0.9, 2.1, 0.6]])
    wrong += float((transport_costs(parallel, torch.arange(90)) < 0).sum())
    single = hidden.softmax(1).float()
    wrong += (
        gap(transport_bound(single, single, embedding=e), transport_bound(*[hidden.softmax(1)] * 2, embedding=e)) > 1e-6
    )
    pointless = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    wrong += gap(transport_costs(pointless, torch.arange(3)), [[0, 1, 1], [1, 0, 1], [1, 1, 0]]) > 1e-12
    f = torch.zeros(2, 3)
    accepted = oracles.accepted(
        lambda: emo_loss(f, x, embedding=e[:2]),
        lambda: emo_loss(f, x, embedding=e.long()),
        lambda: emo_loss(f, x, embedding=e[0]),
        lambda: emo_loss(f, x, embedding=e / 0),
        lambda: emo_loss(f, x, embedding=e, variant="emo3"),
        lambda: emo_loss(f, x, embedding=e, reduction="median"),  # type: ignore[arg-type]
        lambda: emo_loss(f, x + 1, embedding=e),
        lambda: emo_loss(f, x - 2, embedding=e),
        lambda: emo_loss(f, x[:1], embedding=e),
        lambda: emo_loss(f[0], x[0], embedding=e),
        lambda: emo_loss(f[:, :1], 0 * x, embedding=e[:1]),
        lambda: emo_loss(f, x.double(), embedding=e),
        lambda: EarthMoverLoss(e, "emo1"),
        lambda: earth_mover_bound(f, x, embedding=e[:2]),
        lambda: earth_mover_bound(f, x + 1, embedding=e),
        lambda: transport_bound(f, f[:1], embedding=e),
        lambda: transport_bound(f, f, embedding=e[:2]),
        lambda: transport_bound(f[0], f[0], embedding=e),
    )
    return {"wrong": float(wrong), "accepted": accepted}


def defaults(*, seed: int) -> dict[str, float]:
    """Options that nobody gives, and the three reductions."""
    one, worst = next(problems(seed, 1)), Worst()
    for name in VARIANTS:
        rows = each(one, one.logits, name)
        mean, total = (
            emo_loss(one.logits, one.tokens, embedding=one.embedding, variant=name, **options)  # type: ignore[arg-type]
            for options in ({}, {"reduction": "sum"})
        )
        worst.note(reduction_gap=max(gap(mean, rows.mean()), gap(total, rows.sum())))
    return worst | {
        "other_defaults": other_defaults(emo_loss, variant="emo", ignore_index=-100, reduction="mean")
        + other_defaults(EarthMoverLoss, variant="emo", ignore_index=-100)
        + other_defaults(method.Variant, shifted=True, emphasis="mle", clip=math.inf, adaptive=False)
    }


def published(logits: torch.Tensor, targets: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
    """The loss in the form that was released: a one-hot matrix, and both sides of the product embedded."""
    q, p = logits.softmax(1), F.one_hot(targets, logits.shape[1]).to(logits)
    e = embedding / embedding.norm(dim=1, keepdim=True)
    demd = 1 - ((q @ e) * (p @ e)).sum(1)
    mle = F.cross_entropy(logits, targets, reduction="none")
    return (0.5 * (mle + (mle / (demd + 1e-10)).detach() * demd)).mean()


def memory() -> dict[str, float]:
    """The largest tensor that the losses make over the logits, 64 rows of 2,048 and of 8,192 tokens."""
    found = {}
    for vocabulary in (2048, 8192):
        z = torch.randn(64, vocabulary, generator=torch.Generator().manual_seed(0), requires_grad=True)
        e, x = torch.randn(vocabulary, 32, generator=torch.Generator().manual_seed(1)), torch.arange(64)
        for name in VARIANTS:
            with LargestTensor() as seen:
                torch.autograd.grad(emo_loss(z, x, embedding=e, variant=name), z)
            found[f"{name}_{vocabulary}"] = seen.numbers / z.numel()
    return {"largest": max(found.values())}


def cost(*, seed: int) -> dict[str, list[float]]:
    """Seconds of forward and backward, 256 rows of 8,192 tokens, embeddings of 256, in float32."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(256, 8192, generator=generator).requires_grad_()
    e, x = torch.randn(8192, 256, generator=generator), torch.randint(8192, (256,), generator=generator)
    calls: dict[str, Callable[[], object]] = {
        "seconds": lambda: torch.autograd.grad(emo_loss(z, x, embedding=e), z),
        "seconds_as_published": lambda: torch.autograd.grad(published(z, x, e), z),
    }
    return interleaved(calls, rounds=5, warm_up=1)
