"""What the suites of reinforcement learning share: a tiny Qwen2 on a disk, sets of mathematical problems,
few chains and sums."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from baselines.reinforcement import calculator_bench, calculator_runs, reasoning, reasoning_runs
from tests.conftest import needed


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 of two layers with a tokeniser of one token a character, as they lie on a disk."""
    folder = tmp_path_factory.mktemp("qwen")
    letters = ["<|endoftext|>", "<unk>", *map(chr, range(32, 127)), "\n"]
    backend = Tokenizer(models.WordLevel({letter: number for number, letter in enumerate(letters)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<unk>"
    )
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(letters), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=512, pad_token_id=0, eos_token_id=0, bos_token_id=0,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def mathematics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_qwen: Path) -> None:
    """A model, and a few problems in the columns and types of the five sets."""
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    shutil.copytree(tiny_qwen, tmp_path / "qwen2.5-0.5b")
    for name in ("vocab.json", "merges.txt"):  # the published folder holds them as well; tokenizer.json is read
        (tmp_path / "qwen2.5-0.5b" / name).touch()
    rows = [
        {
            "data_source": "math_dapo",
            "prompt": [{"content": f"What is {n} + 1?", "role": "user"}],
            "ability": "MATH",
            "reward_model": {"ground_truth": str(n + 1), "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": f"id-{n}"},
        }
        for n in range(4)
    ]
    files = {
        "dapo-math-17k/train": rows,
        "aime24/test": [{"id": 1, "problem": "1 + 1?", "solution": "", "answer": "2", "url": "", "year": "2024"}],
        "aime25/test": [{"problem": "1 + 2?", "answer": "3", "id": "0"}],
        "amc23/test": [{"id": 0, "question": "1 + 3?", "answer": 4.0, "url": ""}],
    }
    for name, table in files.items():
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir()
        pd.DataFrame(table).to_parquet(path)
    (tmp_path / "math500").mkdir()
    row = {"problem": "1 + 4?", "solution": "5", "answer": "5", "subject": "Algebra", "level": 1, "unique_id": "x"}
    (tmp_path / "math500" / "test.jsonl").write_text(json.dumps(row) + "\n", "utf-8")


@pytest.fixture
def few_chains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Weights of an untaught policy, after modules that have the chains of GSM8K got only the first ones of them."""

    def made(*modules: ModuleType, train: int = 240, test: int = 12) -> Path:
        needed("gsm8k")
        few = {}
        for split, count in (("train", train), ("test", test)):
            problems, values = reasoning.gsm8k_chains(split)
            few[split] = problems[torch.arange(count)], values[:count]
        for module in (reasoning_runs, *modules):
            monkeypatch.setattr(module, "gsm8k_chains", lambda split: few[split])
        torch.manual_seed(0)
        save_file(reasoning.chain_policy().state_dict(), tmp_path / "start.safetensors")
        return tmp_path / "start.safetensors"

    return made


@pytest.fixture
def few_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of an untaught policy, after only 230 sums of GSM8K have been held out."""
    needed("gsm8k")
    train, values, held_out = calculator_bench.calculator_problems(0)
    few = train, values, held_out[torch.arange(230)]
    for module in (calculator_bench, calculator_runs):
        monkeypatch.setattr(module, "calculator_problems", lambda _: few)
    save_file(calculator_bench.calculator_policy(0).state_dict(), tmp_path / "sums.safetensors")
    return tmp_path / "sums.safetensors"
