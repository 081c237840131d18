"""Scoring of texts by causal language models, against direct computation; pretrained ones from files on disk."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import reference
from baselines.corpora import corpus, examples
from baselines.language_models import (
    dequantised,
    next_token,
    next_token_logits,
    non_embedding,
    perplexity,
    pretrained,
    row_nats,
    token_nats,
)
from baselines.training import Batch, fit
from reference.catalog import DataSet, File, get
from tests.conftest import needed


class Bigram(nn.Module):
    """Knows the last token alone, so that no window can change a score."""

    def __init__(self, vocabulary: int = 11) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.table(tokens)


class Counting(nn.Module):
    """The more context, the lower the loss: tells how much each token had."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        places = torch.arange(tokens.shape[1]).expand_as(tokens)
        return F.one_hot(tokens.new_zeros(tokens.shape), 2) * places[..., None].float()


@pytest.mark.parametrize(("length", "stride"), [(4, 4), (4, 2), (5, 1), (7, 3), (40, 40), (29, 29), (30, 7)])
def test_each_token_is_scored_once(length: int, stride: int) -> None:
    torch.manual_seed(0)
    model, tokens = Bigram(), torch.randint(11, (31,))
    expected = F.cross_entropy(model(tokens[:-1]), tokens[1:], reduction="none")
    found = token_nats(model, tokens, length=length, stride=stride, batch_size=2)
    torch.testing.assert_close(found, expected)


def test_the_stride_sets_the_least_context() -> None:
    nats = token_nats(Counting(), torch.zeros(40, dtype=torch.int64), length=8, stride=2)
    context = torch.log(1 / (nats.exp() - 1)).round() + 1  # softmax of (c - 1, 0) for c tokens of context
    assert context[:8].tolist() == list(range(1, 9))
    assert context[8:-1].unique().tolist() == [7.0, 8.0]


@pytest.mark.parametrize(("length", "stride"), [(4, 5), (4, 0), (0, 0)])
def test_windows_that_would_skip_tokens_are_refused(length: int, stride: int) -> None:
    with pytest.raises(ValueError, match="do not go together"):
        token_nats(Bigram(), torch.arange(9), length=length, stride=stride or -1)


def test_rows_are_scored_apart_and_batches_change_nothing() -> None:
    torch.manual_seed(0)
    model, rows = Bigram(), torch.randint(11, (7, 5))
    torch.testing.assert_close(
        row_nats(model, rows, batch_size=3), torch.stack([row_nats(model, row[None])[0] for row in rows])
    )
    assert perplexity(torch.full((5,), math.log(7.0))) == pytest.approx(7)


def test_the_objective_leaves_out_what_is_masked() -> None:
    torch.manual_seed(0)
    model, inputs = Bigram(), torch.randint(11, (2, 6))
    targets = torch.randint(11, (2, 6))
    masked = targets.masked_fill(torch.rand(2, 6) < 0.5, -100)
    kept = masked >= 0
    expected = F.cross_entropy(model(inputs)[kept], targets[kept])
    torch.testing.assert_close(next_token(model, Batch(inputs, masked, torch.arange(2))), expected)


@pytest.mark.parametrize(("width", "depth", "count"), [(16, 2, 6_160), (64, 4, 196_672), (256, 8, 6_291_712)])
def test_decoders_of_cpu_sizes_by_their_parameters(width: int, depth: int, count: int) -> None:
    pytest.importorskip("transformers")
    from baselines.transformer_models import small_decoder

    model = small_decoder(256, width=width, depth=depth, heads=max(2, width // 32), length=64)
    # a block: attention 4 w^2, SwiGLU 3 w (8 w // 3), two norms; and a last norm
    assert count == depth * (4 * width**2 + 3 * width * (8 * width // 3) + 2 * width) + width
    assert non_embedding(model) == count
    assert next_token_logits(model, torch.zeros(2, 5, dtype=torch.int64)).shape == (2, 5, 256)


def test_a_decoder_learns_real_text_in_the_shared_loop() -> None:
    pytest.importorskip("transformers")
    if not get("tiny-shakespeare").available:
        pytest.skip("tiny-shakespeare is absent")
    from baselines.transformer_models import small_decoder

    text = corpus("tiny-shakespeare")
    torch.manual_seed(0)
    model = small_decoder(text.vocabulary, width=32, depth=2, heads=2, length=32)
    inputs, targets = examples(text.train[:40_000], 32)
    before = token_nats(model, text.validation[:2000], length=32).mean()
    fit(
        model, inputs, targets, next_token,
        epochs=2, batch_size=16, drop_last=True, seed=0,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=3e-3),
    )  # fmt: skip
    after = float(token_nats(model, text.validation[:2000], length=32).mean())
    unigram = torch.bincount(text.train, minlength=256).double()
    anchor = -(unigram / unigram.sum()).clamp_min(1e-12).log()[text.validation[1:2000]].mean()
    assert float(before) > 5 and after < anchor  # from log(256) to below what letters alone tell


@pytest.fixture
def tiny_opt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A random OPT with a byte-level tokenizer, saved as the catalogue's opt-125m lies on disk."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import ByteLevelBPETokenizer

    folder = tmp_path / "opt-125m"
    folder.mkdir()
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        ["to be or not to be"], 260, special_tokens=["<s>", "<pad>", "</s>"], show_progress=False
    )
    tokenizer.save_model(str(folder))
    torch.manual_seed(0)
    config = transformers.OPTConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=16, num_hidden_layers=2, ffn_dim=32, num_attention_heads=2,
        max_position_embeddings=64, word_embed_proj_dim=16,
    )  # fmt: skip
    model = transformers.OPTForCausalLM(config)
    config.architectures = ["OPTForCausalLM"]
    config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true}')
    (folder / "special_tokens_map.json").write_text('{"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>"}')
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    return folder


def test_a_checkpoint_on_disk_becomes_a_model_that_scores_text(tiny_opt: Path) -> None:
    model, tokenizer = pretrained("opt-125m")
    assert not model.training and next(model.parameters()).dtype == torch.float32
    tokens = tokenizer("to be or not", return_tensors="pt").input_ids[0]
    stored = torch.load(tiny_opt / "pytorch_model.bin", weights_only=True)
    torch.testing.assert_close(
        model.state_dict()["model.decoder.embed_tokens.weight"], stored["model.decoder.embed_tokens.weight"]
    )
    nats = token_nats(model, tokens, length=32)
    expected = model(tokens[None], labels=tokens[None]).loss
    torch.testing.assert_close(nats.mean(), expected.detach())


def test_an_absent_or_broken_checkpoint_is_refused(tiny_opt: Path) -> None:
    (tiny_opt / "config.json").write_text("{}")
    with pytest.raises(reference.DataError, match="holds no causal language model"):
        pretrained("opt-125m")
    with pytest.raises(reference.DataError, match=r"'opt-1\.3b' is absent: run `hf download facebook/opt-1.3b"):
        pretrained("opt-1.3b")
    with pytest.raises(reference.DataError, match="a checkpoint is whole"):
        reference.load("opt-125m", "train")


@pytest.fixture
def tiny_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A random Llama packed in 4 bits (Q4_1, norms in float32) with a tokenizer, as a set of its own."""
    numpy, gguf = pytest.importorskip("numpy"), pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    pytest.importorskip("transformers")
    rng = numpy.random.default_rng(0)
    folder = tmp_path / "tiny"
    folder.mkdir()
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    for name, value in (
        ("vocab_size", 320), ("context_length", 64), ("embedding_length", 32), ("block_count", 1),
        ("feed_forward_length", 64), ("head_count", 2), ("head_count_kv", 1), ("rope_dimension_count", 16),
    ):  # fmt: skip
        getattr(writer, f"add_{name}")(value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    letters = [f"<{number}>" for number in range(64)] + [chr(ord("!") + number) for number in range(94)]
    tokens = letters + [a + b for a in "abcdefghijklm" for b in "nopqrstuvwxyz"][: 320 - len(letters)]
    merges = [f"{pair[0]} {pair[1]}" for pair in tokens[len(letters) :]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * 317)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    shapes = {
        "token_embd": (320, 32), "blk.0.attn_q": (32, 32), "blk.0.attn_k": (16, 32), "blk.0.attn_v": (16, 32),
        "blk.0.attn_output": (32, 32), "blk.0.ffn_gate": (64, 32), "blk.0.ffn_up": (64, 32), "blk.0.ffn_down": (32, 64),
    }  # fmt: skip
    for name, shape in shapes.items():
        weight = rng.normal(0, 0.3, shape).astype("float32")
        packed = gguf.quants.quantize(weight, gguf.GGMLQuantizationType.Q4_1)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", numpy.ones(32, "float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    facts = {"title": "t", "state": "manual", "licence": "l", "citation": "c", "source": "s", "how": "make it"}
    entry = DataSet("tiny", loader="reference.checkpoints:gpt2", files=(File("tiny.gguf"),), **facts)
    monkeypatch.setattr("reference.catalog.catalog", lambda: {"tiny": entry})
    monkeypatch.setattr(reference, "load", lambda name: get(name).require())
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder / "tiny.gguf"


def test_packed_weights_are_unpacked_once(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gguf

    model, tokenizer = pretrained("tiny")
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(tiny_gguf).tensors}
    packed = stored["blk.0.ffn_down.weight"]
    exact = gguf.quants.dequantize(packed.data, packed.tensor_type)
    found = model.model.layers[0].mlp.down_proj.weight.detach()
    assert found.dtype == torch.float32 and torch.equal(found, torch.from_numpy(exact.copy()).view_as(found))
    assert model.lm_head.weight is model.model.embed_tokens.weight and not model.training
    made = dequantised(tiny_gguf)
    assert made.name == hashlib.sha256(tiny_gguf.read_bytes()).hexdigest()
    assert not any("pickle" in file.name or file.suffix in (".bin", ".pt") for file in made.iterdir())
    monkeypatch.setattr("baselines.language_models._unpack_gguf", None)  # is not asked again
    again, same = pretrained("tiny")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert same("ab no").input_ids == tokenizer("ab no").input_ids != []


def test_what_is_no_model_leaves_nothing(tiny_gguf: Path) -> None:
    tiny_gguf.write_bytes(tiny_gguf.read_bytes()[:5000])
    with pytest.raises(reference.DataError, match="could not be made a model"):
        pretrained("tiny")
    left = list((tiny_gguf.parents[1] / "cache" / "crossexam" / "models").iterdir())
    assert [path.suffix for path in left] in ([], [".lock"])


def test_absent_packages_are_named(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*paths: Path) -> None:
        raise ImportError("Please install gguf")

    monkeypatch.setattr("baselines.language_models._unpack_gguf", absent)
    with pytest.raises(reference.DataError, match=r"cannot be read: Please install gguf: .*crossexam\[language\]"):
        pretrained("tiny")


def test_the_pretrained_model_scores_english() -> None:
    needed("smollm2-135m-instruct-q4_1", "transformers", "gguf", "accelerate")
    needed("wikitext-2-heldout")
    model, tokenizer = pretrained("smollm2-135m-instruct-q4_1")
    text = reference.load("wikitext-2-heldout", "test").text[:3000]
    tokens = tokenizer(text, return_tensors="pt").input_ids[0, :257]
    assert non_embedding(model) == 106_203_456 and tokens.max() < 49_152
    assert 2.5 < float(token_nats(model, tokens, length=256).mean()) < 4
