"""The experiments of emo, by the names that paper.toml has; the rules that judge them are there."""

from suites.emo.exact import (
    cost,
    defaults,
    definition,
    extremes,
    geometry,
    memory,
    minimisers,
    sure_tokens,
    transport,
    variants,
)
from suites.emo.on_pretrained import gpt2, smollm2
from suites.emo.on_shakespeare import planted_synonyms
from suites.emo.on_wikitext import continued, trained_on
