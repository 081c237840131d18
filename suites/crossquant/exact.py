"""The exact tier of crossquant: float64, worst cases over random activations, against NumPy where values are compared.

Activations are heavy-tailed (Student's t with 2 degrees of freedom) with outlier columns, scaled to a maximum of 100.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from baselines.models import mlp
from baselines.quantisation import per_token
from suites.crossquant import method

Metrics = dict[str, float | list[float]]
Array = npt.NDArray[np.float64]

ALPHAS = (0.0, 0.15, 0.3, 0.5, 0.8, 1.0)
BITS = (3, 4, 8)
CASES = 60


def activations(rng: np.random.Generator) -> torch.Tensor:
    """One X of 2 to 40 tokens and 2 to 60 channels, of which up to a tenth is scaled by 1 to 1,000."""
    tokens, channels = int(rng.integers(2, 41)), int(rng.integers(2, 61))
    x = rng.standard_t(2, (tokens, channels))
    outliers = rng.choice(channels, max(1, channels // 10), replace=False)
    x[:, outliers] *= 10 ** rng.uniform(0, 3)
    return torch.from_numpy(100 * x / np.abs(x).max())


def settings(seed: int) -> Iterator[tuple[torch.Tensor, int, float, np.random.Generator]]:
    """(X, bits, alpha, generator) of every case."""
    rng = np.random.default_rng(seed)
    for _ in range(CASES):
        x = activations(rng)
        for bits in BITS:
            for alpha in ALPHAS:
                yield x, bits, alpha, rng


def by_hand(x: torch.Tensor, bits: int, alpha: float) -> Array:
    """D by its logarithm, in NumPy."""
    magnitude = np.abs(x.numpy())
    rows, columns = magnitude.max(1, keepdims=True), magnitude.max(0, keepdims=True)
    return np.exp(alpha * np.log(rows) + (1 - alpha) * np.log(columns)) / (2 ** (bits - 1) - 1)


def gap(a: torch.Tensor | Array, b: torch.Tensor | Array) -> float:
    """The largest absolute difference."""
    a, b = (one.detach().numpy() if isinstance(one, torch.Tensor) else one for one in (a, b))
    return float(np.abs(a - b).max())


class Worst:
    """The largest value of each metric so far."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}

    def note(self, **values: float) -> None:
        for name, value in values.items():
            self.found[name] = max(float(value), self.found.get(name, -np.inf))

    @property
    def metrics(self) -> Metrics:
        return dict(self.found)


def steps_and_codes(seed: int) -> Metrics:
    """E1 to E4, E8: what the steps are, that no code is clipped, the error of an entry, and where codes are zero."""
    worst = Worst()
    for x, bits, alpha, rng in settings(seed):
        q, default = 2 ** (bits - 1) - 1, {} if alpha == 0.15 else {"alpha": alpha}  # 0.15 by default
        steps = method.step_sizes(x, bits=bits, **default)
        expected, ratio = by_hand(x, bits, alpha), (x / steps).abs()
        codes = method.codes(x, steps, bits=bits)
        dequantised = method.crossquant(x, bits=bits, **default)
        worst.note(
            log_gap=gap(steps.log(), np.log(expected)),
            code_gap=gap(codes, np.round(x.numpy() / expected)),
            value_gap=gap(dequantised, np.round(x.numpy() / expected) * expected),
            overflow=float(ratio.round().max()) - q,
            missed_top=abs(float(codes.abs().max()) - q),
            error_excess=float(((dequantised - x).abs() - steps / 2).max()),
        )
        if 0 < alpha < 1:
            both = (x.abs() == method.row_maxima(x)) & (x.abs() == method.column_maxima(x))
            worst.note(wrong_tops=float(((ratio >= q * (1 - 1e-12)) != both).sum()))
        below = x.abs() <= method.zero_bound(steps)
        tie = (ratio - 0.5).abs() < 1e-9
        worst.note(
            bound_gap=gap(method.zero_bound(steps), expected / 2),
            wrong_kernel=float((((codes == 0) != below) & ~tie).sum()),
            mask_gap=gap(method.kernel(x, steps).double(), (codes == 0).double()),
            **_symmetries(x, codes, bits, alpha, rng),
        )
    return worst.metrics


def _symmetries(
    x: torch.Tensor, codes: torch.Tensor, bits: int, alpha: float, rng: np.random.Generator
) -> dict[str, float]:
    """How many codes change with the scale of X, and beyond a permutation and flipped signs of rows and columns."""

    def of(other: torch.Tensor) -> torch.Tensor:
        return method.codes(other, method.step_sizes(other, bits=bits, alpha=alpha), bits=bits)

    rows, columns = (torch.from_numpy(rng.permutation(size)) for size in x.shape)
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], x.shape[0]))[:, None]
    moved = (signs * x)[rows][:, columns]
    return {
        "scale_changes": float((of(float(np.exp(rng.normal(0, 3))) * x) != codes).sum()),
        "symmetry_changes": float((of(moved) != (signs * codes)[rows][:, columns]).sum()),
    }


def limits(seed: int) -> Metrics:
    """E1: alpha = 1 is per-token quantisation, alpha = 0 per-column, both by code that knows no alpha."""
    worst = Worst()
    for x, bits, alpha, _ in settings(seed):
        if alpha == 1.0:
            worst.note(per_token_gap=gap(method.crossquant(x, bits=bits, alpha=1.0), per_token(x, bits=bits)))
        if alpha == 0.0:
            by_column = per_token(x.T, bits=bits).T
            worst.note(per_column_gap=gap(method.crossquant(x, bits=bits, alpha=0.0), by_column))
    tie = torch.tensor([[14.0, 1.0]], dtype=torch.float64)  # 4 bits, per token: D = 2, and 1 is the zero bound
    worst.note(ties_outside=float(not method.kernel(tie, method.step_sizes(tie, bits=4, alpha=1.0))[0, 1]))
    return worst.metrics


def monotonicity(seed: int) -> Metrics:
    """E5, E6: steps and kernels along alpha, apart on the two cases; and the count inequality."""
    worst = Worst()
    rng = np.random.default_rng(seed)
    for _ in range(CASES):
        x = activations(rng)
        x[0, 0] = x[:, 0].abs().max() + x[0].abs().max()  # the largest of its row and column, so that c = t there
        one = method.case_one(x)
        rows, columns = x.abs().max(1, keepdim=True).values, x.abs().max(0, keepdim=True).values
        worst.note(case_gap=gap(one.double(), (columns >= rows).double()), cases_missing=float(not one.any()))
        steps = torch.stack([method.step_sizes(x, bits=4, alpha=alpha) for alpha in ALPHAS])
        slopes = (steps.diff(dim=0) / steps[1:]).sign()
        # On c = t all steps are equal up to rounding errors, whose sign means nothing.
        equal, less = torch.isclose(columns, rows, rtol=1e-12, atol=0), columns < rows
        kernels = torch.stack([method.kernel(x, step) for step in steps])
        worst.note(
            falls_in_case_two=float((slopes[:, less] < 0).sum()),
            rises_in_case_one=float((slopes[:, ~less & ~equal] > 0).sum()),
            not_nested=float((kernels[:-1, less] & ~kernels[1:, less]).sum()),
            equal_changes=float((kernels[:, equal] != kernels[-1, equal]).sum()),
            no_equal=float(not equal.any()),
        )
        counts = kernels.flatten(1).sum(1)
        worst.note(count_excess=float((counts - counts[-1] - one.sum()).max()))
    return worst.metrics


def kernel_sizes(seed: int) -> Metrics:
    """E7: |K_cross| - |K_token|: on the counter-example, on Gaussian data, and where outlier columns dominate."""
    x = torch.tensor([[100.0, 100.0], [0.3, 0.1]], dtype=torch.float64)
    alphas = (1.0, method.DEFAULT_ALPHA)
    found = [method.codes(x, method.step_sizes(x, bits=8, alpha=alpha), bits=8) for alpha in alphas]
    expected = ([[127, 127], [127, 42]], [[127, 127], [1, 0]])
    metrics: Metrics = {
        "code_gap": max(gap(a, np.array(b, float)) for a, b in zip(found, expected, strict=True)),
        "counterexample_excess": float((found[1] == 0).sum() - (found[0] == 0).sum()),
    }
    rng = np.random.default_rng(seed)
    gaussian, small_rows, outliers, cases_one = [], [], [], []
    for _ in range(200):
        plain = torch.from_numpy(rng.normal(size=(64, 128)))
        spiked = plain.clone()
        spiked[:, rng.choice(128, int(rng.integers(1, 7)), replace=False)] *= rng.uniform(20, 100)
        small_row = plain.clone()
        small_row[0] *= 1e-3  # one token much smaller than the others: all of its entries are of Case I
        gaussian.append(_excess(plain))
        small_rows.append(_excess(small_row))
        outliers.append(_excess(spiked))
        cases_one.append(float(method.case_one(spiked).double().mean()))
    return metrics | {
        "gaussian_excess": max(gaussian),
        "gaussian_larger": float(sum(excess > 0 for excess in gaussian)),
        "small_row_excess": max(small_rows),
        "small_row_larger": float(sum(excess > 0 for excess in small_rows)),
        "outlier_excess": max(outliers),
        "outlier_case_one": max(cases_one),
    }


def _excess(x: torch.Tensor) -> float:
    cross, token = (method.kernel(x, method.step_sizes(x, bits=8, alpha=a)).sum() for a in (0.15, 1.0))
    return float(cross - token)


def single_token(seed: int) -> Metrics:
    """E9: of one token the codes are sign(x) round(q (|x| / t)^alpha), and at alpha = 0.15 none is zero."""
    worst, rng = Worst(), np.random.default_rng(seed)
    for _ in range(CASES):
        x = activations(rng)[:1]
        for bits in BITS:
            for alpha in ALPHAS[1:]:
                q, relative = 2 ** (bits - 1) - 1, np.abs(x.numpy()) / np.abs(x.numpy()).max()
                codes = method.codes(x, method.step_sizes(x, bits=bits, alpha=alpha), bits=bits)
                worst.note(power_law_gap=gap(codes, np.sign(x.numpy()) * np.round(q * relative**alpha)))
        steps = method.step_sizes(x, bits=8)
        worst.note(kernel=method.kernel_proportion(x, steps))
    # The smallest magnitude, in units of the largest, that is not rounded to zero: found by bisection.
    low, high = -60.0, 0.0
    for _ in range(80):
        middle = (low + high) / 2
        x = torch.tensor([[1.0, 10.0**middle]], dtype=torch.float64)
        zero = bool(method.kernel(x, method.step_sizes(x, bits=8))[0, 1])
        low, high = (middle, high) if zero else (low, middle)
    return worst.metrics | {"threshold": 10.0**high}


def matrix_products(seed: int) -> Metrics:
    """E10, E11: the folded product, and the bound on the error of a layer's output."""
    worst = Worst()
    for x, bits, alpha, rng in settings(seed):
        weight = torch.from_numpy(rng.normal(size=(7, x.shape[1])))
        steps, quantised = method.step_sizes(x, bits=bits, alpha=alpha), method.crossquant(x, bits=bits, alpha=alpha)
        columns = x.abs().max(0).values
        codes, rows = method.codes(x, steps, bits=bits), x.abs().max(1, keepdim=True).values
        default = {} if alpha == 0.15 else {"alpha": alpha}
        folded = rows**alpha / (2 ** (bits - 1) - 1) * (codes @ method.fold(weight, columns, **default).T)
        bound = torch.from_numpy(by_hand(x, bits, alpha) @ weight.abs().numpy().T / 2)
        error = ((quantised - x) @ weight.T).abs()
        worst.note(
            folding_gap=gap(folded, quantised @ weight.T),
            bound_excess=float((error - method.error_bound(steps, weight)).max()),
            bound_gap=gap(method.error_bound(steps, weight), bound),
            folded_weight_gap=gap(method.fold(weight, columns, alpha), weight * columns ** (1 - alpha)),
        )
    return worst.metrics


def diagnostics(seed: int) -> Metrics:
    """Kernel proportions, removal and restoration of the kernel, and `diagnose`, against direct computation."""
    worst = Worst()
    for x, bits, alpha, rng in settings(seed):
        if alpha in (0.0, 0.5):
            continue
        x[torch.from_numpy(rng.random(x.shape) < 0.3)] = 0.0  # as behind a ReLU
        x[0, :] += rng.normal()  # no row or column without a maximum
        x[:, 0] += rng.normal()
        weight, steps = torch.from_numpy(rng.normal(size=(5, x.shape[1]))), torch.from_numpy(by_hand(x, bits, alpha))
        codes, values = np.round(x.numpy() / steps.numpy()), x.numpy()
        zero, kept = codes == 0, values != 0
        shares = [zero.mean(), zero[kept].mean(), (~kept).mean()]
        found = method.diagnose(x, weight, bits=bits, **({} if alpha == 0.15 else {"alpha": alpha}))
        error = codes * steps.numpy() - values
        product = partial(np.dot, b=weight.numpy().T)
        norms = [np.linalg.norm(of(error)) / np.linalg.norm(of(values)) for of in (lambda a: a, product)]
        tiny = method.diagnose(1e-6 * x[None], weight, bits=bits, alpha=alpha)  # a batch of one sequence
        threshold = float(np.exp(rng.normal()))
        worst.note(
            share_gap=gap(np.array([found.kernel, found.kernel_of_nonzeros, found.exact_zeros]), np.array(shares)),
            proportion_gap=gap(
                np.array([method.kernel_proportion(x, steps), method.kernel_proportion(x, steps, exact_zeros=False)]),
                np.array(shares[:2]),
            ),
            case_gap=abs(found.case_one - (np.abs(values).max(0) >= np.abs(values).max(1, keepdims=True)).mean()),
            norm_gap=gap(np.array([found.input_error, found.output_error]), np.array(norms)),
            scale_gap=gap(np.array(astuple(tiny)), np.array(astuple(found))),
            removed_gap=gap(method.remove_kernel(x, steps), np.where(zero, 0.0, values)),
            threshold_gap=gap(
                method.remove_kernel(x, steps, threshold=threshold),
                np.where(np.abs(values) <= threshold * steps.numpy() / 2, 0.0, values),
            ),
            restored_gap=gap(method.restore_kernel(x, steps, bits=bits), np.where(zero, values, codes * steps.numpy())),
        )
    nothing = method.diagnose(torch.zeros(3, 4), torch.ones(2, 4), bits=8)
    worst.note(nothing_gap=gap(np.array(astuple(nothing)), np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])))
    return worst.metrics


def weights(seed: int) -> Metrics:
    """Weights per output channel and by groups: error bounds, codes, and both against a loop over groups."""
    worst, rng = Worst(), np.random.default_rng(seed)
    for _ in range(CASES):
        size, count, outputs = int(rng.integers(2, 9)), int(rng.integers(1, 6)), int(rng.integers(1, 8))
        weight = rng.standard_t(2, (outputs, size * count))
        weight[0, :size] = 0.0  # a group without a maximum
        for bits in BITS:
            for group in (None, size):
                found = method.quantise_weight(torch.from_numpy(weight), bits=bits, group_size=group).numpy()
                width = group or size * count
                for row, column in np.ndindex(outputs, size * count // width):
                    part = slice(column * width, (column + 1) * width)
                    step = np.abs(weight[row, part]).max() / (2 ** (bits - 1) - 1) or 1.0
                    worst.note(weight_gap=gap(found[row, part], np.round(weight[row, part] / step) * step))
    return worst.metrics


def zeros_and_types(seed: int) -> Metrics:
    """Rows, columns and inputs of zeros, calibrated maxima that are passed, channels never seen, and half precision."""
    worst, rng = Worst(), np.random.default_rng(seed)
    for _ in range(CASES):
        x = activations(rng)
        hollow = x.clone()
        hollow[0], hollow[:, 0] = 0.0, 0.0
        for bits in BITS:
            for alpha in ALPHAS:
                quantise = partial(method.crossquant, bits=bits, alpha=alpha)
                worst.note(
                    zero_gap=gap(quantise(torch.zeros_like(x)), torch.zeros_like(x)),
                    zero_step_gap=gap(method.step_sizes(torch.zeros(2, 3), bits=bits, alpha=alpha), torch.ones(2, 3)),
                    hollow_gap=gap(quantise(hollow)[1:, 1:], quantise(hollow[1:, 1:])),
                    hollow_rest=float(max(quantise(hollow)[0].abs().max(), quantise(hollow)[:, 0].abs().max())),
                )
                columns = x.abs().max(0).values * torch.from_numpy(rng.uniform(0.3, 2.0, x.shape[1]))
                columns[0] = 0.0
                maxima = torch.where(columns > 0, columns, columns.max())
                steps = x.abs().max(1, keepdim=True).values ** alpha * maxima ** (1 - alpha) / (2 ** (bits - 1) - 1)
                limit = 2 ** (bits - 1) - 1
                expected = (x / steps).round().clamp(-limit, limit) * steps
                worst.note(calibrated_gap=gap(quantise(x, columns=columns), expected))
        small = (x / 100).half()
        worst.note(half_gap=gap(method.crossquant(small, bits=8).double(), method.crossquant(small.double(), bits=8)))
        worst.note(wrong_type=float(method.crossquant(small, bits=8).dtype != torch.float16))
        batched = x.expand(3, *x.shape) * torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)[:, None, None]
        flat = method.crossquant(batched.flatten(0, 1), bits=4)
        worst.note(batch_gap=gap(method.crossquant(batched, bits=4).flatten(0, 1), flat))
    return worst.metrics


def layers(seed: int) -> Metrics:
    """`quantise_`, `calibrate`, `diagnose_layers` and `without_kernel` on a network of two layers, by hand."""
    torch.manual_seed(seed)
    model = mlp([12, 16, 5]).double()
    first, second = model[1], model[3]
    batches = [3.0 * torch.randn(9, 12, dtype=torch.float64) for _ in range(3)]
    x = torch.randn(20, 12, dtype=torch.float64)
    hidden = [first(batch).relu() for batch in batches]
    columns = {"1": torch.cat(batches).abs().amax(0), "3": torch.cat(hidden).abs().amax(0)}
    found = method.calibrate(model, batches)

    def by_layers(quantise: Callable[[torch.Tensor, str], torch.Tensor], weight: partial[torch.Tensor]) -> torch.Tensor:
        inner = nn.functional.linear(quantise(x, "1"), weight(first.weight), first.bias).relu()
        return nn.functional.linear(quantise(inner, "3"), weight(second.weight), second.bias)

    def quantised(**options: object) -> torch.Tensor:
        return method.quantise_(_copy(model), **options)(x)

    eight, four = (partial(method.quantise_weight, bits=bits) for bits in (8, 4))
    by_four = partial(method.quantise_weight, bits=4, group_size=4)
    whole, as_is = partial(torch.clone), lambda x, name: x
    token = {"activation_bits": 4, "weight_bits": None, "alpha": 1.0}
    plain = by_layers(lambda x, name: method.crossquant(x, bits=8), eight)
    static = by_layers(lambda x, name: method.crossquant(x, bits=4, alpha=0.4, columns=columns[name]), by_four)
    removed = by_layers(lambda x, name: method.remove_kernel(x, method.step_sizes(x, bits=4, alpha=1.0)), whole)
    cut = by_layers(
        lambda x, name: method.remove_kernel(x, method.step_sizes(x, bits=4, alpha=0.2), threshold=3.0), whole
    )
    part = method.quantise_(_copy(model), weight_bits=4, activation_bits=None, skip=("1",))(x)
    expected_part = nn.functional.linear(first(x).relu(), four(second.weight), second.bias)
    rows = method.diagnose_layers(model, batches, bits=4, columns=columns)
    direct = [method.diagnose(h, second.weight, bits=4, columns=columns["3"]) for h in hidden]
    return {
        "calibration_gap": max(gap(found[name], columns[name]) for name in columns),
        "default_gap": gap(quantised(), plain),
        "static_gap": gap(
            quantised(activation_bits=4, weight_bits=4, group_size=4, alpha=0.4, columns=columns),
            static,
        ),
        "weights_only_gap": gap(quantised(activation_bits=None, weight_bits=4), by_layers(as_is, four).detach()),
        "per_token_gap": gap(quantised(**token), by_layers(lambda x, name: per_token(x, bits=4), whole).detach()),
        "skip_gap": gap(part, expected_part),
        "removed_gap": gap(method.without_kernel(model, bits=4)(x), removed),
        "cut_gap": gap(method.without_kernel(model, bits=4, alpha=0.2, threshold=3.0)(x), cut),
        "diagnosis_gap": max(
            abs(getattr(rows["3"], name) - float(np.mean([getattr(one, name) for one in direct])))
            for name in ("kernel", "kernel_of_nonzeros", "exact_zeros", "case_one", "input_error", "output_error")
        ),
        "folded_gap": gap(
            quantised(activation_bits=4, weight_bits=None, columns=columns, folded=True),
            quantised(activation_bits=4, weight_bits=None, columns=columns),
        ),
        "folded_weight_gap": _folded_weight_gap(first, x, columns["1"]),
        "left_over": float(len(method.linear_layers(method.quantise_(_copy(model))))),
    }


def _folded_weight_gap(layer: nn.Linear, x: torch.Tensor, columns: torch.Tensor) -> float:
    """A folded layer quantises c^(1-alpha) W, and its output is row scale x (codes x that) + bias."""
    folded = method.QuantisedLinear(layer, activation_bits=8, weight_bits=4, alpha=0.6, columns=columns, folded=True)
    weight = method.quantise_weight(layer.weight.detach() * columns**0.4, bits=4)
    rows = x.abs().max(1, keepdim=True).values ** 0.6
    codes = (127 * x / (rows * columns**0.4)).round().clamp(-127, 127)
    return gap(folded(x), (rows / 127 * (codes @ weight.T) + layer.bias))


def _copy(model: nn.Sequential) -> nn.Sequential:
    copied = mlp([12, 16, 5]).double()
    copied.load_state_dict(model.state_dict())
    return copied


def refusals(seed: int) -> Metrics:
    """How many of the calls that cannot be meant are not refused with a ValueError."""
    x, layer, model = torch.ones(3, 4), nn.Linear(4, 2), mlp([4, 3, 2])
    steps = torch.ones(3, 4)
    layered = partial(method.QuantisedLinear, layer, weight_bits=8)
    wrong: list[Callable[[], object]] = [
        lambda: method.largest_code(1),
        lambda: method.codes(x, steps, bits=1),
        lambda: method.step_sizes(x, bits=8, alpha=1.01),
        lambda: method.step_sizes(x, bits=8, alpha=-0.01),
        lambda: method.fold(layer.weight, torch.ones(4), 1.01),
        lambda: method.step_sizes(torch.ones(4), bits=8),
        lambda: method.step_sizes(torch.ones(0, 4), bits=8),
        lambda: method.step_sizes(x, bits=8, columns=torch.ones(3)),
        lambda: method.quantise_weight(layer.weight, bits=8, group_size=3),
        lambda: layered(activation_bits=8, folded=True),
        lambda: layered(activation_bits=None, columns=torch.ones(4), folded=True),
        lambda: method.quantise_(layer),
        lambda: method.quantise_(nn.ReLU()),
        lambda: method.quantise_(model, columns={"1": torch.ones(4)}),
        lambda: method.quantise_(model, skip=("2",)),
    ]
    return {"accepted": float(sum(not _refuses(call) for call in wrong)), "calls": float(len(wrong))}


def _refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except ValueError:
        return True
    return False
