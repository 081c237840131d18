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
from suites.crossquant.on_smollm2 import (
    smollm2,
    smollm2_alphas,
    smollm2_arm,
    smollm2_kernel,
    smollm2_kernels,
    smollm2_plain,
    smollm2_removal,
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
