"""The experiments of crossquant, by the names that paper.toml has; the rules that judge them are there."""

from suites.crossquant.exact import (
    defaults,
    diagnostics,
    encoders,
    kernel_sizes,
    layers,
    limits,
    matrix_products,
    monotonicity,
    refusals,
    single_token,
    steps_and_codes,
    weights,
    zeros_and_types,
)
from suites.crossquant.networks import trained, trained_decoder
from suites.crossquant.on_images import (
    activation_statistics,
    case_one_and_advantage,
    kernel_is_causal,
    preserved,
    quantised_mlp,
)
from suites.crossquant.on_wikitext import (
    decoder_statistics,
    decoding,
    opt_1_3b,
    opt_6_7b,
    opt_6_7b_kernel,
    opt_125m,
    quantised_decoder,
)

__all__ = [
    "activation_statistics", "case_one_and_advantage", "decoder_statistics", "decoding", "defaults", "diagnostics",
    "encoders", "kernel_is_causal", "kernel_sizes", "layers", "limits", "matrix_products", "monotonicity",
    "opt_1_3b", "opt_6_7b", "opt_6_7b_kernel", "opt_125m", "preserved", "quantised_decoder", "quantised_mlp",
    "refusals", "single_token", "steps_and_codes", "trained", "trained_decoder", "weights", "zeros_and_types",
]  # fmt: skip
