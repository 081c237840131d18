"""Checkpoints of pretrained models of text, as Hugging Face lays them out: the folder, for transformers to read.

Imports neither torch nor transformers; `baselines.language_models.pretrained` makes a model of the folder.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from reference.catalog import DataError, get


def _folder(name: str, split: str) -> Path:
    """The folder with config.json, weights and tokenizer, verified."""
    if split != "all":
        raise DataError(f"'{name}' has no split '{split}': a checkpoint is whole")
    return get(name).require()


all_minilm_l6_v2 = partial(_folder, "all-minilm-l6-v2")
bert_base_cased = partial(_folder, "bert-base-cased")
bert_large_cased = partial(_folder, "bert-large-cased")
gpt2 = partial(_folder, "gpt2")
opt_125m = partial(_folder, "opt-125m")
opt_1_3b = partial(_folder, "opt-1.3b")
opt_6_7b = partial(_folder, "opt-6.7b")
qwen2_5_0_5b = partial(_folder, "qwen2.5-0.5b")
qwen2_5_7b = partial(_folder, "qwen2.5-7b")
deepseek_r1_distill_qwen_1_5b = partial(_folder, "deepseek-r1-distill-qwen-1.5b")
qwen3_8b_base = partial(_folder, "qwen3-8b-base")
llama_3_8b = partial(_folder, "llama-3-8b")
gemma_2_2b = partial(_folder, "gemma-2-2b")
smollm2_135m_instruct_q4_1 = partial(_folder, "smollm2-135m-instruct-q4_1")
