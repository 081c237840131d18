"""The experiments of entropy-mechanism, by the names that paper.toml has; the rules that judge them are there."""

from suites.entropy_mechanism.exact import (
    clip_cov,
    defaults,
    gradient_steps,
    kl_cov,
    law_algebra,
    lemma,
    refusals,
    selection,
    signs,
    token_covariance,
)
from suites.entropy_mechanism.on_mathematics import qwen_mathematics
from suites.entropy_mechanism.on_problems import (
    bandit,
    calculator,
    calculator_benefit,
    covariance_sign,
    entropy_law,
    grpo_bandit,
)
from suites.entropy_mechanism.on_problems import calculator_benefit as calculator_short
from suites.entropy_mechanism.tables import printed_table
