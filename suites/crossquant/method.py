r"""CrossQuant: activations quantised by a geometric mean of their row's and column's maxima (arXiv:2410.07505).

X in R^{T x I} is what a linear layer reads: T tokens (every leading dimension of a tensor, flattened) and I input
channels. For N bits, q = 2^(N-1) - 1 is the largest code, and

    t_i = max_j |X_ij|,    c_j = max_i |X_ij|,
    D_ij = t_i^alpha c_j^(1-alpha) / q,    Q_ij = round(X_ij / D_ij),    Y_ij = Q_ij D_ij.

alpha = 1 is per-token quantisation, alpha = 0 per-column; the paper's default is 0.15. No code exceeds q, because
|X_ij| <= min(t_i, c_j). The *kernel* are the entries with Q_ij = 0, those below the *zero bound* B_ij = D_ij / 2.
An entry is of Case I where c_j >= t_i: there B is not below that of per-token quantisation; elsewhere (Case II) it is.

c_j is that of the tokens at hand ("dynamic"), so that it depends on the batch and on padding, or a calibrated maximum
(`calibrate`). As D depends on the inner dimension j, no integer matrix product can take it out; a calibrated c_j can be
folded into the weights (`QuantisedLinear(folded=True)`):

    (Y W)_ik = t_i^alpha / q sum_j Q_ij (c_j^(1-alpha) W_jk).

Quantisation is simulated: codes are whole numbers in floating point, float32 at least. In one's own network:

    project_attention_(model)                                               # where it has an nn.MultiheadAttention
    quantise_(model, activation_bits=8, weight_bits=8)                      # every nn.Linear, in place, dynamic c_j
    columns = calibrate(model, batches)                                     # before quantise_
    quantise_(model, activation_bits=8, weight_bits=4, group_size=128, columns=columns, folded=True)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import astuple, dataclass

import torch
from torch import nn
from torch.nn import functional as F

from baselines.losses import widened
from suites.crossquant.attention import ProjectedAttention, project_attention_

__all__ = [
    "DEFAULT_ALPHA", "Diagnosis", "MappedLinear", "ProjectedAttention", "QuantisedLinear", "calibrate", "case_one",
    "codes", "column_factors", "column_maxima", "crossquant", "diagnose", "diagnose_layers", "error_bound", "fold",
    "kernel", "kernel_proportion", "largest_code", "linear_layers", "project_attention_", "quantise_",
    "quantise_weight", "remove_kernel", "replace_linears_", "restore_kernel", "row_maxima", "step_sizes", "watch",
    "without_kernel", "zero_bound",
]  # fmt: skip

DEFAULT_ALPHA = 0.15

# Activations.


def largest_code(bits: int) -> int:
    """q = 2^(bits-1) - 1: 127 for 8 bits, 7 for 4. Raises ValueError below 2 bits, where only zero would be left."""
    if bits < 2:
        raise ValueError(f"signed codes need at least 2 bits, got {bits}")
    return 2 ** (bits - 1) - 1


def row_maxima(x: torch.Tensor) -> torch.Tensor:
    """t: (..., I) -> (..., 1)."""
    return x.abs().amax(-1, keepdim=True)


def column_maxima(x: torch.Tensor) -> torch.Tensor:
    """c over all tokens: (..., I) -> (I,). Raises ValueError for an input without tokens or without rows."""
    if x.ndim < 2 or x.numel() == 0:
        raise ValueError(f"activations must be (..., tokens, channels) and not empty, got {tuple(x.shape)}")
    return x.abs().flatten(0, -2).amax(0)


def column_factors(columns: torch.Tensor, alpha: float) -> torch.Tensor:
    """c^(1-alpha), (I,), where a channel without a maximum counts with the largest of all.

    With dynamic maxima such a channel holds only zeros and any step will do. With calibrated ones it may yet carry a
    signal, which the step of the whole layer represents.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be between 0 (per column) and 1 (per token), got {alpha}")
    return torch.where(columns > 0, columns, columns.max()) ** (1 - alpha)


def step_sizes(
    x: torch.Tensor, *, bits: int, alpha: float = DEFAULT_ALPHA, columns: torch.Tensor | None = None
) -> torch.Tensor:
    """D, of the shape of x (..., I), in float32 or the wider type of x; 1 where it would be 0.

    columns: calibrated maxima (I,), instead of those of x. alpha: the exponent of the row's maximum.
    """
    wide = widened(x)
    if columns is not None and columns.shape != x.shape[-1:]:
        raise ValueError(f"{tuple(columns.shape)} column maxima for activations {tuple(x.shape)}")
    maxima = column_maxima(wide) if columns is None else columns.to(wide)
    steps = row_maxima(wide) ** alpha * (column_factors(maxima, alpha) / largest_code(bits))
    return torch.where(steps > 0, steps, 1.0)


def codes(x: torch.Tensor, steps: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Q: whole numbers from -q to q in the type of `steps`. Only calibrated maxima can make the bounds act."""
    largest = largest_code(bits)
    return (x / steps).round().clamp(-largest, largest)


def crossquant(
    x: torch.Tensor, *, bits: int, alpha: float = DEFAULT_ALPHA, columns: torch.Tensor | None = None
) -> torch.Tensor:
    """Y: x (..., I) through its codes and back, in its own type. Arguments as for `step_sizes`."""
    steps = step_sizes(x, bits=bits, alpha=alpha, columns=columns)
    return (codes(x, steps, bits=bits) * steps).to(x.dtype)


# The kernel and what it costs.


def zero_bound(steps: torch.Tensor) -> torch.Tensor:
    """B = D / 2: what is smaller becomes 0, and what is equal does too (halves are rounded to even codes)."""
    return steps / 2


def kernel(x: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Where Q = 0: bool, of the shape of x."""
    return (x / steps).round() == 0


def kernel_proportion(x: torch.Tensor, steps: torch.Tensor, *, exact_zeros: bool = True) -> float:
    """The share of the kernel among all entries, or (`exact_zeros=False`) among those that are not 0 to begin with.

    Behind a ReLU most of the kernel can be entries that were 0 before. Without any other entry the share is 0.
    """
    rounded = kernel(x, steps)
    counted = rounded if exact_zeros else rounded[x != 0]
    return float(counted.double().mean()) if counted.numel() else 0.0


def case_one(x: torch.Tensor) -> torch.Tensor:
    """Where c_j >= t_i, so that the step is not below that of per-token quantisation: bool, of the shape of x."""
    return column_maxima(x) >= row_maxima(x)


def remove_kernel(x: torch.Tensor, steps: torch.Tensor, *, threshold: float = 1.0) -> torch.Tensor:
    """x in floating point with 0 where |x| <= threshold * B: the paper's diagnostic, and its sweep by `threshold`."""
    return x.masked_fill(x.abs() <= threshold * zero_bound(steps), 0.0)


def restore_kernel(x: torch.Tensor, steps: torch.Tensor, *, bits: int) -> torch.Tensor:
    """The counterpart of `remove_kernel`: everything is quantised but the kernel, which stays as it was."""
    quantised = (codes(x, steps, bits=bits) * steps).to(x.dtype)
    return torch.where(kernel(x, steps), x, quantised)


def error_bound(steps: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """|(Y - X) W|_ik <= sum_j D_ij |W_jk| / 2 for steps (..., I) and an nn.Linear's weight (O, I): (..., O)."""
    return F.linear(zero_bound(steps), weight.abs().to(steps))


@dataclass(frozen=True)
class Diagnosis:
    """What quantisation does to one layer's input X (T, I) and output X W. Shares and relative Frobenius errors."""

    kernel: float  # share of entries that become 0
    kernel_of_nonzeros: float  # the same among entries that are not 0 to begin with
    exact_zeros: float  # share of entries that are 0 to begin with
    case_one: float
    input_error: float  # ||Y - X|| / ||X||
    output_error: float  # ||(Y - X) W|| / ||X W||


@torch.no_grad()
def diagnose(
    x: torch.Tensor,
    weight: torch.Tensor,
    *,
    bits: int,
    alpha: float = DEFAULT_ALPHA,
    columns: torch.Tensor | None = None,
) -> Diagnosis:
    """`Diagnosis` of an input (..., I) and a weight (O, I) that stays as it is, both in the type of the steps."""
    steps = step_sizes(x, bits=bits, alpha=alpha, columns=columns)
    x, weight = x.to(steps), weight.to(steps)
    error = codes(x, steps, bits=bits) * steps - x
    return Diagnosis(
        kernel=kernel_proportion(x, steps),
        kernel_of_nonzeros=kernel_proportion(x, steps, exact_zeros=False),
        exact_zeros=float((x == 0).double().mean()),
        case_one=float(case_one(x).double().mean()),
        input_error=_share(error.norm(), x.norm()),
        output_error=_share(F.linear(error, weight).norm(), F.linear(x, weight).norm()),
    )


def _share(part: torch.Tensor, whole: torch.Tensor) -> float:
    """part / whole; nothing of nothing is 0."""
    return float(part / whole) if whole > 0 else 0.0


# Weights.


def quantise_weight(weight: torch.Tensor, *, bits: int, group_size: int | None = None) -> torch.Tensor:
    """Symmetric absmax quantisation and back of a weight (O, I): a step for each output channel, or for each
    `group_size` consecutive inputs of it, in the type of the weight. Raises ValueError where groups do not fill the
    inputs. Half precision is computed in float32: its own steps would make codes of 128, or vanish."""
    inputs = weight.shape[-1]
    size = group_size or inputs
    if inputs % size:
        raise ValueError(f"groups of {size} do not fill {inputs} input channels")
    groups = widened(weight).unflatten(-1, (-1, size))
    steps = row_maxima(groups) / largest_code(bits)
    steps = torch.where(steps > 0, steps, 1.0)
    return ((groups / steps).round() * steps).flatten(-2).to(weight.dtype)


def fold(weight: torch.Tensor, columns: torch.Tensor, alpha: float = DEFAULT_ALPHA) -> torch.Tensor:
    """c^(1-alpha) times the inputs of a weight (O, I): what the codes are multiplied with in the folded form.

    In float32 or the wider type of the weight: half precision would overflow.
    """
    wide = widened(weight)
    return wide * column_factors(columns.to(wide), alpha)


# Networks.


class QuantisedLinear(nn.Module):
    """In place of an nn.Linear: fake-quantised input and weight. None for bits leaves that side as it is.

    columns: calibrated maxima (I,) instead of dynamic ones. folded: the column factors are in the weight before it is
    quantised, and the layer multiplies whole codes by it, with one scale for each token and each output channel.
    Raises ValueError for a folded layer without columns or activation bits.
    """

    def __init__(
        self,
        linear: nn.Linear,
        *,
        activation_bits: int | None,
        weight_bits: int | None,
        group_size: int | None = None,
        alpha: float = DEFAULT_ALPHA,
        columns: torch.Tensor | None = None,
        folded: bool = False,
    ) -> None:
        super().__init__()
        if folded and (columns is None or activation_bits is None):
            raise ValueError("folding needs calibrated column maxima and the bits of the activations")
        self.activation_bits, self.alpha, self.folded = activation_bits, alpha, folded
        weight = linear.weight.detach()
        if columns is not None:
            columns = columns.to(weight.device)
            weight = fold(weight, columns, alpha) if folded else weight
        if weight_bits is not None:
            weight = quantise_weight(weight, bits=weight_bits, group_size=group_size)
        self.columns: torch.Tensor | None
        self.weight: torch.Tensor
        self.register_buffer("weight", weight)
        self.register_buffer("columns", columns)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.activation_bits is None:
            return F.linear(x, self.weight, self.bias)
        if not self.folded:
            quantised = crossquant(x, bits=self.activation_bits, alpha=self.alpha, columns=self.columns)
            return F.linear(quantised, self.weight, self.bias)
        steps = step_sizes(x, bits=self.activation_bits, alpha=self.alpha, columns=self.columns)
        whole = codes(x, steps, bits=self.activation_bits)
        product = F.linear(whole, self.weight.to(whole))
        rows = row_maxima(x).to(product) ** self.alpha / largest_code(self.activation_bits)
        product = (product * rows).to(x.dtype)
        return product if self.bias is None else product + self.bias


class MappedLinear(nn.Module):
    """A linear layer as it is, which reads function(x): for `remove_kernel` and `restore_kernel` in a network."""

    def __init__(self, linear: nn.Linear, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.linear, self.function = linear, function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.function(x))


def linear_layers(model: nn.Module, skip: Collection[str] = ()) -> dict[str, nn.Linear]:
    """Every nn.Linear by its (first) name, without those named in `skip`, which may name attentions too.

    Raises ValueError for a name to skip that is none, and for an nn.MultiheadAttention that is not skipped: it calls
    no layer (see `project_attention_`).
    """
    modules = dict(model.named_modules())
    attentions = {name for name, module in modules.items() if isinstance(module, nn.MultiheadAttention)}
    found = {
        name: layer
        for name, layer in modules.items()
        if isinstance(layer, nn.Linear) and name.rpartition(".")[0] not in attentions
    }
    if unknown := set(skip) - found.keys() - attentions:
        raise ValueError(f"no linear layers to skip: {', '.join(sorted(unknown))}")
    if uncalled := attentions - set(skip):
        raise ValueError(
            f"nn.MultiheadAttention calls no layers that could be quantised: {', '.join(sorted(uncalled))}. "
            "Use project_attention_(model) first, or skip it"
        )
    return {name: layer for name, layer in found.items() if name not in skip}


def replace_linears_(
    model: nn.Module, make: Callable[[str, nn.Linear], nn.Module], *, skip: Collection[str] = ()
) -> nn.Module:
    """Put make(name, layer) in the place of every linear layer, wherever the model has it, and return the model.

    PyTorch's encoder layers lose the fast path that reads weights and calls no layer. Raises ValueError for a model
    that is a linear layer itself or has none.
    """
    layers = linear_layers(model, skip)
    if not layers or "" in layers:
        raise ValueError("the model must contain linear layers, and not be one")
    made = {layer: make(name, layer) for name, layer in layers.items()}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, nn.Linear) and child in made:
                setattr(parent, name, made[child])
        if isinstance(parent, nn.TransformerEncoderLayer):
            parent.activation_relu_or_gelu = 0  # what the layer asks before it takes that path
        elif isinstance(parent, nn.TransformerEncoder):
            parent.use_nested_tensor = False  # padded batches are for that path only
    return model


def quantise_(
    model: nn.Module,
    *,
    activation_bits: int | None = 8,
    weight_bits: int | None = 8,
    group_size: int | None = None,
    alpha: float = DEFAULT_ALPHA,
    columns: Mapping[str, torch.Tensor] | None = None,
    folded: bool = False,
    skip: Collection[str] = (),
) -> nn.Module:
    """Every linear layer but those named in `skip` becomes a `QuantisedLinear`, in place; returns the model.

    columns: from `calibrate`, by the names of the layers. Raises ValueError where one is missing.
    """
    if columns is not None and (missing := linear_layers(model, skip).keys() - columns.keys()):
        raise ValueError(f"no column maxima for {', '.join(sorted(missing))}")

    def make(name: str, layer: nn.Linear) -> QuantisedLinear:
        return QuantisedLinear(
            layer, activation_bits=activation_bits, weight_bits=weight_bits, group_size=group_size, alpha=alpha,
            columns=None if columns is None else columns[name], folded=folded,
        )  # fmt: skip

    return replace_linears_(model, make, skip=skip)


def without_kernel(
    model: nn.Module, *, bits: int, alpha: float = 1.0, threshold: float = 1.0, skip: Collection[str] = ()
) -> nn.Module:
    """A copy whose linear layers read `remove_kernel` of their inputs, in floating point. alpha = 1: of per-token."""

    def remove(x: torch.Tensor) -> torch.Tensor:
        return remove_kernel(x, step_sizes(x, bits=bits, alpha=alpha), threshold=threshold)

    return replace_linears_(copy.deepcopy(model), lambda _, layer: MappedLinear(layer, remove), skip=skip)


@torch.no_grad()
def watch(
    model: nn.Module,
    batches: Iterable[torch.Tensor],
    observe: Callable[[str, nn.Linear, torch.Tensor], None],
    *,
    skip: Collection[str] = (),
) -> None:
    """Run the model on all batches and call observe(name, layer, its input) for every linear layer in each."""

    def hook(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        return lambda layer, inputs: observe(name, layer, inputs[0])

    handles = [layer.register_forward_pre_hook(hook(name)) for name, layer in linear_layers(model, skip).items()]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it calls no layer
    try:
        for batch in batches:
            model(batch)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()


def calibrate(
    model: nn.Module, batches: Iterable[torch.Tensor], *, skip: Collection[str] = ()
) -> dict[str, torch.Tensor]:
    """The largest |X| of each input channel of each linear layer over all batches: {name: (I,)}."""
    maxima: dict[str, torch.Tensor] = {}

    def observe(name: str, _: nn.Linear, x: torch.Tensor) -> None:
        here = column_maxima(x)
        maxima[name] = torch.maximum(maxima[name], here) if name in maxima else here

    watch(model, batches, observe, skip=skip)
    return maxima


def diagnose_layers(
    model: nn.Module,
    batches: Iterable[torch.Tensor],
    *,
    bits: int,
    alpha: float = DEFAULT_ALPHA,
    columns: Mapping[str, torch.Tensor] | None = None,
    skip: Collection[str] = (),
) -> dict[str, Diagnosis]:
    """`diagnose` of each linear layer of the model in floating point: the mean over the batches, {name: Diagnosis}."""
    found: dict[str, list[tuple[float, ...]]] = {}

    def observe(name: str, layer: nn.Linear, x: torch.Tensor) -> None:
        maxima = None if columns is None else columns[name]
        found.setdefault(name, []).append(astuple(diagnose(x, layer.weight, bits=bits, alpha=alpha, columns=maxima)))

    watch(model, batches, observe, skip=skip)
    return {name: Diagnosis(*torch.tensor(rows, dtype=torch.float64).mean(0).tolist()) for name, rows in found.items()}
