"""The experiments that paper.toml names."""

from __future__ import annotations

from suites.cut_cross_entropy.costs import costs, costs_compiled, costs_packages, memory
from suites.cut_cross_entropy.exact import (
    accumulation,
    constants,
    defaults,
    filtering,
    gradcheck,
    identities,
    ignored,
    masked,
    paths_agree,
    phantom,
    pigeonhole,
    precision,
    sorting,
    streaming,
)
from suites.cut_cross_entropy.on_gpu import far_offsets, fused_kernels
from suites.cut_cross_entropy.on_smollm2 import smollm2_costs, smollm2_head, smollm2_step
from suites.cut_cross_entropy.on_wikitext import convergence, convergence_heldout, language_model
