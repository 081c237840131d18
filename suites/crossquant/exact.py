"""The exact tier: float64, worst cases over random activations, against NumPy where values are compared.

Activations are heavy-tailed (Student's t with 2 degrees of freedom) with outlier columns, scaled to a maximum of 100.
What is claimed of a matrix is claimed of each of its entries: 30 matrices at 3 numbers of bits and 6 alphas are about
350,000 of them.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import astuple, fields
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from baselines.models import mlp
from baselines.oracles import Worst, accepted, gap, other_defaults
from baselines.quantisation import per_token
from suites.crossquant import method

Array = npt.NDArray[np.float64]

ALPHAS = (0.0, 0.15, 0.3, 0.5, 0.8, 1.0)
BITS = (3, 4, 8)
CASES = 30


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
        for bits, alpha in itertools.product(BITS, ALPHAS):
            yield x, bits, alpha, rng


def options(bits: int, alpha: float) -> dict[str, float]:
    """What the method is called with: not the alpha that should be its default."""
    return {"bits": bits} if alpha == 0.15 else {"bits": bits, "alpha": alpha}


def by_hand(x: torch.Tensor, bits: int, alpha: float) -> Array:
    """D by its logarithm, in NumPy."""
    magnitude = np.abs(x.numpy())
    rows, columns = magnitude.max(1, keepdims=True), magnitude.max(0, keepdims=True)
    return np.exp(alpha * np.log(rows) + (1 - alpha) * np.log(columns)) / (2 ** (bits - 1) - 1)


def steps_and_codes(*, seed: int) -> dict[str, float]:
    """What the steps are, that no code is clipped, the error of an entry, and where codes are zero."""
    worst = Worst()
    for x, bits, alpha, rng in settings(seed):
        q, steps = 2 ** (bits - 1) - 1, method.step_sizes(x, **options(bits, alpha))
        expected, ratio = by_hand(x, bits, alpha), (x / steps).abs()
        codes, dequantised = method.codes(x, steps, bits=bits), method.crossquant(x, **options(bits, alpha))
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
    return worst


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


def limits(*, seed: int) -> dict[str, float]:
    """alpha = 1 is per-token quantisation, alpha = 0 per-column, both by code that knows no alpha."""
    worst, rng = Worst(), np.random.default_rng(seed)
    for _ in range(CASES):
        x = activations(rng)
        for bits in BITS:
            by_row, by_column = (method.crossquant(x, bits=bits, alpha=alpha) for alpha in (1.0, 0.0))
            worst.note(
                per_token_gap=gap(by_row, per_token(x, bits=bits)),
                per_column_gap=gap(by_column, per_token(x.T, bits=bits).T),
            )
    tie = torch.tensor([[14.0, 1.0]], dtype=torch.float64)  # 4 bits, per token: D = 2, and 1 is the zero bound
    worst.note(ties_outside=float(not method.kernel(tie, method.step_sizes(tie, bits=4, alpha=1.0))[0, 1]))
    return worst


def monotonicity(*, seed: int) -> dict[str, float]:
    """Steps and kernels along alpha, apart on the two cases; and the count inequality."""
    worst, rng = Worst(), np.random.default_rng(seed)
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
        counts = kernels.flatten(1).sum(1)
        worst.note(
            falls_in_case_two=float((slopes[:, less] < 0).sum()),
            rises_in_case_one=float((slopes[:, ~less & ~equal] > 0).sum()),
            not_nested=float((kernels[:-1, less] & ~kernels[1:, less]).sum()),
            equal_changes=float((kernels[:, equal] != kernels[-1, equal]).sum()),
            no_equal=float(not equal.any()),
            count_excess=float((counts - counts[-1] - one.sum()).max()),
        )
    return worst


def kernel_sizes(*, seed: int) -> dict[str, float]:
    """|K_cross| - |K_token|: on the counter-example, on Gaussian data, and where outlier columns dominate."""
    x = torch.tensor([[100.0, 100.0], [0.3, 0.1]], dtype=torch.float64)
    token, cross = (
        method.codes(x, method.step_sizes(x, bits=8, alpha=alpha), bits=8) for alpha in (1.0, method.DEFAULT_ALPHA)
    )
    worst, rng = Worst(), np.random.default_rng(seed)
    worst.note(
        code_gap=max(gap(token, [[127, 127], [127, 42]]), gap(cross, [[127, 127], [1, 0]])),
        counterexample_excess=float((cross == 0).sum() - (token == 0).sum()),
    )
    larger = dict.fromkeys(("gaussian_larger", "small_row_larger"), 0.0)
    for _ in range(200):
        gaussian = torch.from_numpy(rng.normal(size=(64, 128)))
        outlier, small_row = gaussian.clone(), gaussian.clone()
        outlier[:, rng.choice(128, int(rng.integers(1, 7)), replace=False)] *= rng.uniform(20, 100)
        small_row[0] *= 1e-3  # one token much smaller than the others: all of its entries are of Case I
        excess = {"gaussian": _excess(gaussian), "small_row": _excess(small_row), "outlier": _excess(outlier)}
        for name in larger:
            larger[name] += excess[name.removesuffix("_larger")] > 0
        worst.note(
            outlier_case_one=float(method.case_one(outlier).double().mean()),
            **{f"{name}_excess": value for name, value in excess.items()},
        )
    return worst | larger


def _excess(x: torch.Tensor) -> float:
    cross, token = (method.kernel(x, method.step_sizes(x, bits=8, alpha=a)).sum() for a in (0.15, 1.0))
    return float(cross - token)


def single_token(*, seed: int) -> dict[str, float]:
    """Of one token the codes are sign(x) round(q (|x| / t)^alpha), and at alpha = 0.15 none is zero."""
    worst, rng = Worst(), np.random.default_rng(seed)
    for _ in range(CASES):
        x = activations(rng)[:1]
        relative = np.abs(x.numpy()) / np.abs(x.numpy()).max()
        for bits, alpha in itertools.product(BITS, ALPHAS[1:]):
            codes = method.codes(x, method.step_sizes(x, bits=bits, alpha=alpha), bits=bits)
            expected = np.sign(x.numpy()) * np.round((2 ** (bits - 1) - 1) * relative**alpha)
            worst.note(power_law_gap=gap(codes, expected))
        worst.note(kernel=method.kernel_proportion(x, method.step_sizes(x, bits=8)))
    # The smallest magnitude, in units of the largest, that is not rounded to zero: found by bisection.
    low, high = -60.0, 0.0
    for _ in range(80):
        middle = (low + high) / 2
        x = torch.tensor([[1.0, 10.0**middle]], dtype=torch.float64)
        zero = bool(method.kernel(x, method.step_sizes(x, bits=8))[0, 1])
        low, high = (middle, high) if zero else (low, middle)
    return worst | {"threshold": 10.0**high}


def matrix_products(*, seed: int) -> dict[str, float]:
    """The folded product, and the bound on the error of a layer's output."""
    worst = Worst()
    for x, bits, alpha, rng in settings(seed):
        weight = torch.from_numpy(rng.normal(size=(7, x.shape[1])))
        steps, quantised = (of(x, bits=bits, alpha=alpha) for of in (method.step_sizes, method.crossquant))
        columns, rows = x.abs().max(0).values, x.abs().max(1, keepdim=True).values
        folded = method.fold(weight, columns) if alpha == 0.15 else method.fold(weight, columns, alpha)
        product = rows**alpha / (2 ** (bits - 1) - 1) * (method.codes(x, steps, bits=bits) @ folded.T)
        bound = method.error_bound(steps, weight)
        worst.note(
            folding_gap=gap(product, quantised @ weight.T),
            bound_excess=float((((quantised - x) @ weight.T).abs() - bound).max()),
            bound_gap=gap(bound, by_hand(x, bits, alpha) @ weight.abs().numpy().T / 2),
            folded_weight_gap=gap(folded, weight * columns ** (1 - alpha)),
        )
    return worst


def diagnostics(*, seed: int) -> dict[str, float]:
    """Kernel proportions, removal and restoration of the kernel, and `diagnose`, against direct computation."""
    worst = Worst()
    for x, bits, alpha, rng in settings(seed):
        if alpha in (0.0, 0.5):
            continue
        x[torch.from_numpy(rng.random(x.shape) < 0.3)] = 0.0  # as behind a ReLU
        x[0, :] += rng.normal()  # no row or column without a maximum
        x[:, 0] += rng.normal()
        weight, steps = torch.from_numpy(rng.normal(size=(5, x.shape[1]))), torch.from_numpy(by_hand(x, bits, alpha))
        values, codes = x.numpy(), np.round(x.numpy() / steps.numpy())
        quantised, zero, kept = codes * steps.numpy(), codes == 0, values != 0
        found = method.diagnose(x, weight, **options(bits, alpha))
        tiny = method.diagnose(1e-6 * x[None], weight, bits=bits, alpha=alpha)  # a batch of one sequence
        shares = [zero.mean(), zero[kept].mean(), (~kept).mean()]
        norms = [
            np.linalg.norm(error) / np.linalg.norm(whole)
            for error, whole in (
                (quantised - values, values),
                ((quantised - values) @ weight.numpy().T, values @ weight.numpy().T),
            )
        ]
        threshold = float(np.exp(rng.normal()))
        removed = np.where(np.abs(values) <= threshold * steps.numpy() / 2, 0.0, values)
        worst.note(
            share_gap=gap([found.kernel, found.kernel_of_nonzeros, found.exact_zeros], shares),
            proportion_gap=gap([method.kernel_proportion(x, steps, exact_zeros=e) for e in (True, False)], shares[:2]),
            case_gap=abs(found.case_one - (np.abs(values).max(0) >= np.abs(values).max(1, keepdims=True)).mean()),
            norm_gap=gap([found.input_error, found.output_error], norms),
            scale_gap=gap(astuple(tiny), astuple(found)),
            removed_gap=gap(method.remove_kernel(x, steps), np.where(zero, 0.0, values)),
            threshold_gap=gap(method.remove_kernel(x, steps, threshold=threshold), removed),
            restored_gap=gap(method.restore_kernel(x, steps, bits=bits), np.where(zero, values, quantised)),
        )
    nothing = method.diagnose(torch.zeros(3, 4), torch.ones(2, 4), bits=8)
    return worst | {"nothing_gap": gap(astuple(nothing), [1.0, 0.0, 1.0, 1.0, 0.0, 0.0])}


def weights(*, seed: int) -> dict[str, float]:
    """Weights per output channel and by groups, against NumPy."""
    worst, rng = Worst(), np.random.default_rng(seed)
    for _ in range(CASES):
        size, count, outputs = int(rng.integers(2, 9)), int(rng.integers(1, 6)), int(rng.integers(1, 8))
        weight = rng.standard_t(2, (outputs, size * count))
        weight[0, :size] = 0.0  # a group without a maximum
        for bits, group in itertools.product(BITS, (None, size)):
            groups = weight.reshape(outputs, -1, group or size * count)
            steps = np.abs(groups).max(-1, keepdims=True) / (2 ** (bits - 1) - 1)
            expected = np.round(groups / np.where(steps > 0, steps, 1.0)) * steps
            found = method.quantise_weight(torch.from_numpy(weight), bits=bits, group_size=group)
            worst.note(weight_gap=gap(found, expected.reshape(weight.shape)))
        for dtype, scale in itertools.product((torch.float16, torch.bfloat16), (1.0, 1e-5, 1e-6)):
            worst.note(**_half_weights(scale * torch.from_numpy(weight).clamp(-9, 9), dtype, rng))
    return worst


def _half_weights(weight: torch.Tensor, dtype: torch.dtype, rng: np.random.Generator) -> dict[str, float]:
    """Quantised and folded weights of half precision against double precision, the first rounded to its type."""
    half = weight.to(dtype)
    exact = half.double().numpy()
    steps = np.abs(exact).max(1, keepdims=True) / 127
    ratio = exact / np.where(steps > 0, steps, 1.0)
    clear = torch.from_numpy(np.abs(ratio % 1 - 0.5) > 1e-6)  # half of a row's maximum is a tie, +-63.5, often here
    expected = torch.from_numpy(np.round(ratio) * steps).to(dtype)
    columns = 10 ** torch.from_numpy(rng.uniform(-3, 4.8, weight.shape[1]))
    folded = torch.from_numpy(exact) * columns**0.85
    return {
        "half_weight_gap": gap(method.quantise_weight(half, bits=8).double() * clear, expected.double() * clear),
        "half_fold_gap": gap(method.fold(half, columns).double() / folded.abs().max(), folded / folded.abs().max()),
    }


def zeros_and_types(*, seed: int) -> dict[str, float]:
    """Rows, columns and inputs of zeros, calibrated maxima that are passed, channels never seen, and half precision."""
    worst, rng = Worst(), np.random.default_rng(seed)
    for _ in range(CASES):
        x = activations(rng)
        hollow = x.clone()
        hollow[0], hollow[:, 0] = 0.0, 0.0
        for bits, alpha in itertools.product(BITS, ALPHAS):
            quantise = partial(method.crossquant, bits=bits, alpha=alpha)
            around = quantise(hollow)
            columns = x.abs().max(0).values * torch.from_numpy(rng.uniform(0.3, 2.0, x.shape[1]))
            columns[0] = 0.0
            maxima, limit = torch.where(columns > 0, columns, columns.max()), 2 ** (bits - 1) - 1
            steps = x.abs().max(1, keepdim=True).values ** alpha * maxima ** (1 - alpha) / limit
            expected = (x / steps).round().clamp(-limit, limit) * steps
            worst.note(
                zero_gap=gap(quantise(torch.zeros_like(x)), torch.zeros_like(x)),
                zero_step_gap=gap(method.step_sizes(torch.zeros(2, 3), bits=bits, alpha=alpha), torch.ones(2, 3)),
                hollow_gap=gap(around[1:, 1:], quantise(hollow[1:, 1:])),
                hollow_rest=float(max(around[0].abs().max(), around[:, 0].abs().max())),
                calibrated_gap=gap(quantise(x, columns=columns), expected),
            )
        small = (x / 100).half()
        batched = x.expand(3, *x.shape) * torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)[:, None, None]
        flat = method.crossquant(batched.flatten(0, 1), bits=4)
        worst.note(
            half_gap=gap(method.crossquant(small, bits=8).double(), method.crossquant(small.double(), bits=8)),
            wrong_type=float(method.crossquant(small, bits=8).dtype != torch.float16),
            batch_gap=gap(method.crossquant(batched, bits=4).flatten(0, 1), flat),
        )
    return worst


def layers(*, seed: int) -> dict[str, float]:
    """`quantise_`, `calibrate`, `diagnose_layers` and `without_kernel` on a network of two layers, by hand."""
    torch.manual_seed(seed)
    model = mlp([12, 16, 5]).double()
    first, second = model[1], model[3]
    batches = [3.0 * torch.randn(9, 12, dtype=torch.float64) for _ in range(3)]
    x = torch.randn(20, 12, dtype=torch.float64)
    hidden = [first(batch).relu() for batch in batches]
    columns = {"1": torch.cat(batches).abs().amax(0), "3": torch.cat(hidden).abs().amax(0)}

    def by_layers(
        read: Callable[[torch.Tensor, str], torch.Tensor], weight: Callable[[torch.Tensor], torch.Tensor] = torch.clone
    ) -> torch.Tensor:
        inner = F.linear(read(x, "1"), weight(first.weight), first.bias).relu()
        return F.linear(read(inner, "3"), weight(second.weight), second.bias)

    def removed(x: torch.Tensor, alpha: float, threshold: float) -> torch.Tensor:
        return method.remove_kernel(x, method.step_sizes(x, bits=4, alpha=alpha), threshold=threshold)

    def quantised(**options: object) -> torch.Tensor:
        return method.quantise_(copy.deepcopy(model), **options)(x)

    eight, four = (partial(method.quantise_weight, bits=bits) for bits in (8, 4))
    static = {"activation_bits": 4, "columns": columns}
    pairs = {
        "default_gap": (quantised(), by_layers(lambda x, _: method.crossquant(x, bits=8), eight)),
        "static_gap": (
            quantised(**static, weight_bits=4, group_size=4, alpha=0.4),
            by_layers(
                lambda x, name: method.crossquant(x, bits=4, alpha=0.4, columns=columns[name]),
                partial(four, group_size=4),
            ),
        ),
        "weights_only_gap": (quantised(activation_bits=None, weight_bits=4), by_layers(lambda x, _: x, four)),
        "per_token_gap": (
            quantised(activation_bits=4, weight_bits=None, alpha=1.0),
            by_layers(lambda x, _: per_token(x, bits=4)),
        ),
        "skip_gap": (
            quantised(activation_bits=None, weight_bits=4, skip=("1",)),
            F.linear(first(x).relu(), four(second.weight), second.bias),
        ),
        "removed_gap": (method.without_kernel(model, bits=4)(x), by_layers(lambda x, _: removed(x, 1.0, 1.0))),
        "cut_gap": (
            method.without_kernel(model, bits=4, alpha=0.2, threshold=3.0)(x),
            by_layers(lambda x, _: removed(x, 0.2, 3.0)),
        ),
        "folded_gap": (quantised(**static, weight_bits=None, folded=True), quantised(**static, weight_bits=None)),
    }
    found, rows = method.calibrate(model, batches), method.diagnose_layers(model, batches, bits=4, columns=columns)
    direct = [method.diagnose(h, second.weight, bits=4, columns=columns["3"]) for h in hidden]
    return {name: gap(*pair) for name, pair in pairs.items()} | {
        "calibration_gap": max(gap(found[name], columns[name]) for name in columns),
        "diagnosis_gap": max(
            abs(getattr(rows["3"], field.name) - float(np.mean([getattr(one, field.name) for one in direct])))
            for field in fields(method.Diagnosis)
        ),
        "folded_weight_gap": _folded_weight_gap(first, x, columns["1"]),
        "left_over": float(len(method.linear_layers(method.quantise_(copy.deepcopy(model))))),
    }


def _folded_weight_gap(layer: nn.Linear, x: torch.Tensor, columns: torch.Tensor) -> float:
    """A folded layer quantises c^(1-alpha) W, and its output is row scale x (codes x that) + bias."""
    folded = method.QuantisedLinear(layer, activation_bits=8, weight_bits=4, alpha=0.6, columns=columns, folded=True)
    weight = method.quantise_weight(layer.weight.detach() * columns**0.4, bits=4)
    rows = x.abs().max(1, keepdim=True).values ** 0.6
    codes = (127 * x / (rows * columns**0.4)).round().clamp(-127, 127)
    return gap(folded(x), (rows / 127 * (codes @ weight.T) + layer.bias))


def encoders(*, seed: int) -> dict[str, float]:
    """PyTorch's own encoder and attention, and a layer that stands in two places, in evaluation without gradients."""
    torch.manual_seed(seed)
    options = {"dim_feedforward": 24, "batch_first": True, "dtype": torch.float64}
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, **options), 2).eval()
    x = torch.randn(3, 7, 16, dtype=torch.float64)
    model = method.project_attention_(copy.deepcopy(encoder))
    columns = method.calibrate(model, [x])
    layer = nn.Linear(5, 5).double()
    twice, y = nn.Sequential(layer, nn.Tanh(), layer), torch.randn(9, 5, dtype=torch.float64)

    def quantised(**settings: object) -> torch.Tensor:
        return method.quantise_(copy.deepcopy(model), **settings)(x)

    with torch.no_grad():
        both = _quantised_product(_quantised_product(y, layer.weight, layer.bias).tanh(), layer.weight, layer.bias)
        static = {"columns": columns, "weight_bits": None}
        return {
            "encoder_gap": gap(quantised(), _encoder_by_hand(encoder, x, _quantised_product)),
            "encoder_skipped_gap": gap(
                method.quantise_(copy.deepcopy(encoder), skip=[f"layers.{i}.self_attn" for i in range(2)])(x),
                _encoder_by_hand(encoder, x, F.linear),
            ),
            "encoder_folded_gap": gap(quantised(**static, folded=True), quantised(**static)),
            "shared_gap": gap(method.quantise_(copy.deepcopy(twice))(y), both),
            **_attention_gaps(seed),
        }


def _quantised_product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.linear(method.crossquant(x, bits=8), method.quantise_weight(weight, bits=8), bias)


def _encoder_by_hand(
    encoder: nn.TransformerEncoder, x: torch.Tensor, product: Callable[..., torch.Tensor]
) -> torch.Tensor:
    """Norms after the sums, four heads, from the parameters as PyTorch keeps them; `product` is that of attention."""
    for layer in encoder.layers:
        attention, width = layer.self_attn, x.shape[-1]
        parts = (
            product(x, attention.in_proj_weight[rows], attention.in_proj_bias[rows])
            for rows in torch.arange(3 * width).split(width)
        )
        query, key, value = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in parts)
        mixed = ((query @ key.mT / 2).softmax(-1) @ value).transpose(1, 2).flatten(-2)  # heads of width 4
        x = layer.norm1(x + product(mixed, attention.out_proj.weight, attention.out_proj.bias))
        hidden = _quantised_product(x, layer.linear1.weight, layer.linear1.bias).relu()
        x = layer.norm2(x + _quantised_product(hidden, layer.linear2.weight, layer.linear2.bias))
    return x


def _attention_gaps(seed: int) -> dict[str, float]:
    """Outputs and weights of attention by linear layers against PyTorch's, with each kind of mask and shape."""
    torch.manual_seed(seed)
    worst = Worst()
    kinds = ({}, {"kdim": 6, "vdim": 10}, {"bias": False})
    for kind, batch_first, mask, padded, averaged in itertools.product(
        kinds, (True, False), (None, "bool", "float", "each"), (False, True), (True, False)
    ):
        pytorch = nn.MultiheadAttention(16, 4, batch_first=batch_first, dtype=torch.float64, **kind).eval()
        own = method.project_attention_(nn.ModuleList([copy.deepcopy(pytorch)]))[0]
        shapes = (5, 16), (7, pytorch.kdim), (7, pytorch.vdim)
        inputs = [torch.randn(*((3, n) if batch_first else (n, 3)), d, dtype=torch.float64) for n, d in shapes]
        masks = {
            "bool": torch.rand(5, 7) < 0.3,
            "float": torch.randn(5, 7, dtype=torch.float64),
            "each": torch.rand(12, 5, 7) < 0.3,
        }
        masks["bool"][:, 0], masks["each"][..., 0] = False, False  # every query may read the first key
        options = {
            "attn_mask": masks.get(mask),
            "key_padding_mask": torch.tensor([[0, 0, 0, 0, 0, 0, 1]] * 3).bool() if padded else None,
            "average_attn_weights": averaged,
        }
        if mask == "float" and padded:  # PyTorch wants both masks of one type
            options["key_padding_mask"] = torch.zeros(3, 7, dtype=torch.float64).masked_fill(
                options["key_padding_mask"], -torch.inf
            )
        expected, found = pytorch(*inputs, **options), own(*inputs, **options)
        worst.note(attention_gap=max(gap(a, b) for a, b in zip(found, expected, strict=True)))
    return worst


def defaults() -> dict[str, float]:
    """Options that nobody gives, what is not asked for, and layers whose parts are of several dtypes."""
    whole = {"alpha": method.DEFAULT_ALPHA}
    network = {"group_size": None, **whole, "columns": None, "folded": False}
    wanted: dict[Callable[..., object], dict[str, object]] = {
        method.step_sizes: {**whole, "columns": None},
        method.crossquant: {**whole, "columns": None},
        method.kernel_proportion: {"exact_zeros": True},
        method.remove_kernel: {"threshold": 1.0},
        method.diagnose: {**whole, "columns": None},
        method.quantise_weight: {"group_size": None},
        method.fold: whole,
        method.QuantisedLinear: network,
        method.ProjectedAttention.forward: {
            "key_padding_mask": None, "need_weights": True, "attn_mask": None, "average_attn_weights": True,
            "is_causal": False,
        },
        method.linear_layers: {"skip": ()},
        method.replace_linears_: {"skip": ()},
        method.quantise_: {**network, "activation_bits": 8, "weight_bits": 8, "skip": ()},
        method.without_kernel: {"alpha": 1.0, "threshold": 1.0, "skip": ()},
        method.watch: {"skip": ()},
        method.calibrate: {"skip": ()},
        method.diagnose_layers: {**whole, "columns": None, "skip": ()},
    }  # fmt: skip
    x, weight, columns = torch.randn(3, 6), torch.randn(4, 6), torch.rand(6, dtype=torch.float64)
    attention = nn.ModuleList([nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.bfloat16)]).eval()
    attend, tokens = method.project_attention_(attention)[0], torch.randn(2, 5, 8, dtype=torch.bfloat16)
    mask = torch.randn(5, 5)
    steps, half = method.step_sizes(x, bits=8), weight.half()
    return {
        "other": sum(other_defaults(function, **options) for function, options in wanted.items()),
        "unasked": float(attend(tokens, tokens, tokens, need_weights=False)[1] is not None),
        "mask_gap": gap(*(attend(tokens, tokens, tokens, attn_mask=one)[0].float() for one in (mask, mask.bfloat16()))),
        "half_bound_gap": gap(method.error_bound(steps, half), method.error_bound(steps, half.float())),
        "broken_weights": float((~method.quantise_weight(half * 0, bits=8, group_size=3).isfinite()).sum()),
        "folded_type": float(method.fold(weight, columns).dtype != torch.float32),
    }


def refusals() -> dict[str, float]:
    """How many of the calls that cannot be meant are not refused with a ValueError."""
    x, layer, model = torch.ones(3, 4), nn.Linear(4, 2), mlp([4, 3, 2])
    layered = partial(method.QuantisedLinear, layer, weight_bits=8)
    attention = nn.MultiheadAttention(4, 2)
    wrong: list[Callable[[], object]] = [
        lambda: method.largest_code(1),
        lambda: method.codes(x, x, bits=1),
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
        lambda: method.quantise_(nn.Sequential(layer, attention)),
        lambda: method.calibrate(nn.Sequential(layer, attention), []),
        lambda: method.project_attention_(attention),
        lambda: method.project_attention_(nn.Sequential(nn.MultiheadAttention(4, 2, add_zero_attn=True))),
        lambda: method.ProjectedAttention(attention)(*torch.ones(3, 5, 1, 4), is_causal=True),
    ]
    return {"accepted": accepted(*wrong), "calls": float(len(wrong))}
