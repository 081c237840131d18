"""The quantiser by hand, the networks with outliers, and OPT from a checkpoint and a text as they lie on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from baselines.models import mlp
from reference.catalog import get
from suites.crossquant import contenders, experiments, method, networks, on_images, on_smollm2, on_wikitext
from suites.crossquant.contenders import Setting
from tests.baselines.tiny_models import TEXT, tiny_llama, tiny_tokenizer

CPU = torch.device("cpu")


def test_steps_by_hand() -> None:
    """t = (8, 2), c = (8, 4); at alpha = 1/2 D is the geometric mean over q = 7."""
    x = torch.tensor([[8.0, -4.0], [2.0, 0.5]], dtype=torch.float64)
    expected = torch.tensor([[8.0, 32**0.5], [4.0, 8**0.5]], dtype=torch.float64) / 7
    torch.testing.assert_close(method.step_sizes(x, bits=4, alpha=0.5), expected)
    codes = method.codes(x, expected, bits=4)
    assert codes.tolist() == [[7.0, -5.0], [4.0, 1.0]]  # 7, 4 * 7 / 5.66 = 4.95, 3.5 (to even), .5 * 7 / 2.83 = 1.24


@pytest.mark.parametrize("folded", [False, True])
def test_a_quantised_network_is_near_and_keeps_its_biases(folded: bool) -> None:
    torch.manual_seed(0)
    model, x = mlp([16, 32, 4]), torch.randn(64, 16)
    expected, columns = model(x), method.calibrate(model, [x])
    found = method.quantise_(model, columns=columns, folded=folded)(x)
    assert 0 < float(((found - expected).norm() / expected.norm()).detach()) < 0.02
    assert not method.linear_layers(model)
    assert all(isinstance(model[place], method.QuantisedLinear) for place in (1, 3))


def test_a_quantised_network_is_saved_and_loaded() -> None:
    torch.manual_seed(0)
    model, x = mlp([16, 32, 4]), torch.randn(8, 16)
    columns = method.calibrate(model, [x])
    model = method.quantise_(model, columns=columns, folded=True)
    other = mlp([16, 32, 4])
    other = method.quantise_(other, columns={name: torch.ones_like(c) for name, c in columns.items()}, folded=True)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(x), model(x))


def test_half_precision_folds_without_overflow() -> None:
    linear = nn.Linear(512, 4).half()
    x = 1000 * torch.rand(8, 512).half()
    columns = method.column_maxima(x)
    layer = method.QuantisedLinear(linear, activation_bits=8, weight_bits=8, columns=columns, folded=True)
    found, expected = layer(x), linear.float()(x.float())
    assert found.dtype == torch.float16
    assert float(((found - expected).norm() / expected.norm()).detach()) < 0.05


@pytest.mark.parametrize("arm", contenders.ARMS)
def test_every_arm_is_near_at_eight_bits(arm: str) -> None:
    torch.manual_seed(0)
    model, x = mlp([16, 32, 4]), torch.randn(64, 16)
    expected = model(x)
    columns = method.calibrate(model, [x])
    found = contenders.quantised(arm, model, Setting(8, 8), columns)(x)
    error = float(((found - expected).norm() / expected.norm()).detach())
    assert error == 0.0 if arm == "float" else 0 < error < 0.03


def test_unknown_arms_are_refused() -> None:
    with pytest.raises(ValueError, match="no arm 'gptq'"):
        contenders.quantised("gptq", mlp([4, 3]), Setting(8, 8), {})


def trained(tmp_path: Path) -> Path:
    """A network that nobody trained, as the artifact keeps it."""
    torch.manual_seed(0)
    units = {f"units/{name}": torch.tensor([2, 5]) for name in networks.HIDDEN}
    path = tmp_path / "trained.safetensors"
    save_file({**mlp(networks.SIZES["digits"]).state_dict(), **units}, path)
    return path


def test_outliers_leave_the_function(tmp_path: Path) -> None:
    metrics = on_images.preserved(seed=1000, dataset="digits", trained=trained(tmp_path))
    assert metrics["logits_gap"] < 1e-6


def test_a_rescaled_decoder_is_the_same() -> None:
    torch.manual_seed(0)
    model, tokens = networks.Decoder(11), torch.randint(11, (2, 20))
    plain, scaled = (networks.load_decoder(model.state_dict(), scale, 0) for scale in (1.0, 50.0))
    assert networks.logits_gap(plain, scaled, tokens) < 1e-6
    x = method.calibrate(scaled, [tokens])["blocks.0.fc1"]
    assert float(x.max() / x.median()) > 20


def test_a_decoder_does_not_look_ahead() -> None:
    torch.manual_seed(0)
    model, tokens = networks.Decoder(11), torch.randint(11, (1, 20))
    changed = tokens.clone()
    changed[0, 10:] = 0
    torch.testing.assert_close(model(tokens)[:, :10], model(changed)[:, :10])


def test_training_on_digits_reaches_a_usable_network() -> None:
    tensors = experiments.trained(seed=1000, dataset="digits")
    model = networks.load_mlp("digits", tensors, 1)
    assert on_images.scores(model, networks.parts("digits", 1000).test)[0] > 0.9
    assert {tuple(tensors[f"units/{name}"].shape) for name in networks.HIDDEN} == {(2,)}


def save_weights(model: nn.Module, folder: Path, shards: int) -> None:
    """As PyTorch files: one, or several with an index, as the larger checkpoints come."""
    state = model.state_dict()
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return
    names, index = list(state), {}
    for shard in range(shards):
        file = f"pytorch_model-{shard + 1:05}-of-{shards:05}.bin"
        mine = names[shard::shards]
        torch.save({name: state[name] for name in mine}, folder / file)
        index |= dict.fromkeys(mine, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


@pytest.fixture
def opt_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A random OPT with a byte-level tokenizer, as the catalogue's checkpoints lie on disk, beside WikiText-2."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import ByteLevelBPETokenizer

    text = " = Robert <unk> = \n \n Robert <unk> is an English film , television and theatre actor . \n" * 40
    wikitext = tmp_path / "wikitext-2"
    wikitext.mkdir()
    for name, part in (("valid", text[:2000]), ("test", text)):
        (wikitext / f"{name}.txt").write_text(part)
    entry = type(get("wikitext-2-heldout"))  # its files have checksums, which a short text cannot have
    require = entry.require
    monkeypatch.setattr(entry, "require", lambda self: wikitext if self.name == "wikitext-2-heldout" else require(self))
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    torch.manual_seed(0)
    tokenizer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>"]
    tokenizer.train_from_iterator([text], 270, special_tokens=special, show_progress=False)
    config = transformers.OPTConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=16, num_hidden_layers=2, ffn_dim=32, num_attention_heads=2,
        max_position_embeddings=64, word_embed_proj_dim=16,
    )  # fmt: skip
    config.architectures = ["OPTForCausalLM"]
    model = transformers.OPTForCausalLM(config)
    for name in ("opt-125m", "opt-1.3b", "opt-6.7b"):
        folder = tmp_path / name
        folder.mkdir()
        tokenizer.save_model(str(folder))
        config.save_pretrained(folder)
        save_weights(model, folder, shards=2 if name == "opt-6.7b" else 1)
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true}')
        (folder / "special_tokens_map.json").write_text(
            '{"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>"}'
        )
    return tmp_path


SMALL = {"seed": 1000, "device": CPU, "length": 32, "limit": 6}


@pytest.mark.usefixtures("opt_folder")
@pytest.mark.parametrize("arm", [arm for arm in contenders.ARMS if arm not in contenders.TUNED])
def test_opt_from_disk(arm: str) -> None:
    metrics = experiments.opt_125m(arm=arm, setting="w8a8", **SMALL)
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["nats"]))
    plain = experiments.opt_125m(arm="float", setting="w8a8", **SMALL)
    assert metrics["nats"] == pytest.approx(plain["nats"], abs=0.02)
    assert metrics["rise"] == pytest.approx(metrics["nats"] - plain["nats"], abs=1e-6)
    assert ("kernel" in metrics) == (arm in ("per_token", "crossquant"))


@pytest.mark.usefixtures("opt_folder")
@pytest.mark.parametrize("setting", ["w4a8g128", "w4a4"])
def test_opt_settings(setting: str) -> None:
    plain = experiments.opt_1_3b(arm="float", setting=setting, group_size=8, **SMALL)
    found = experiments.opt_6_7b(arm="crossquant", setting=setting, group_size=8, **SMALL)
    assert found["nats"] != plain["nats"]
    assert 0 < found["relu_exact_zeros"] < 1


@pytest.mark.usefixtures("opt_folder")
def test_opt_parts_are_disjoint_and_whole() -> None:
    _, tokenizer = on_wikitext.load_opt("opt-125m", CPU)
    rows = on_wikitext.rows_of("test", tokenizer, 32, CPU)
    parts = [rows[seed::5] for seed in range(5)]
    assert sum(map(len, parts)) == len(rows) > 5
    assert int(rows[0, 0]) == tokenizer.bos_token_id


@pytest.mark.usefixtures("opt_folder")
def test_opt_without_its_kernel() -> None:
    metrics = experiments.opt_6_7b_kernel(**SMALL)
    kernels, rises = metrics["kernels"], metrics["rises"]
    assert kernels == sorted(kernels)
    assert abs(rises[0]) < abs(rises[-1])


def test_encoders_of_pytorch_take_padding_and_half_precision() -> None:
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 24, batch_first=True), 2).eval()
    x, padding = torch.randn(3, 7, 16), torch.tensor([[False] * 6 + [True]] * 3)
    with torch.no_grad():
        expected = encoder(x, src_key_padding_mask=padding)[:, :6]
        model = method.quantise_(method.project_attention_(encoder))
        found = model(x, src_key_padding_mask=padding)[:, :6]
        assert 0 < float((found - expected).norm() / expected.norm()) < 0.03
        half = model.bfloat16()(x.bfloat16(), src_key_padding_mask=padding)[:, :6]
    assert half.dtype == torch.bfloat16
    assert float((half - expected).norm() / expected.norm()) < 0.05


def test_attention_that_is_skipped_stays_as_it_is() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 24, batch_first=True), 1).eval()
    attention = encoder.layers[0].self_attn
    method.quantise_(encoder, skip=("layers.0.self_attn",))
    assert encoder.layers[0].self_attn is attention
    assert isinstance(attention.out_proj, nn.Linear)
    assert isinstance(encoder.layers[0].linear1, method.QuantisedLinear)


@pytest.fixture
def tiny_smollm2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model in the place of the pretrained one, which reads rows of 12 tokens of other texts."""
    texts = {part: "\n".join([TEXT[k + first :] * 9 for k in range(10)]) for part, first in (("test", 0), ("val", 20))}
    monkeypatch.setattr(on_smollm2, "pretrained", lambda name: (tiny_llama(), tiny_tokenizer()))
    monkeypatch.setattr(on_smollm2.reference, "load", lambda name, part: SimpleNamespace(text=texts[part]))
    save_file(on_smollm2.smollm2_plain(length=12), tmp_path / "plain")
    return tmp_path


@pytest.mark.parametrize("arm", ["per_token", "outlier_split", "smoothquant_tuned", "crossquant_tuned"])
def test_a_pretrained_model_in_every_way(tiny_smollm2: Path, arm: str) -> None:
    found, given = on_smollm2.smollm2_arm(arm=arm, length=12), {"arm": arm, "length": 12}
    save_file(found, tiny_smollm2 / "arm")
    paths = {"smollm2_plain": tiny_smollm2 / "plain", "smollm2_arm": tiny_smollm2 / "arm"}
    metrics, again, other = (experiments.smollm2(seed=seed, **given, **paths) for seed in (1, 6, 2))
    assert metrics == again != other and all(map(math.isfinite, metrics.values()))
    assert metrics["nats_float"] == pytest.approx(math.log(300), abs=1)
    assert metrics["rise_w8a4"] == pytest.approx(metrics["nats_w8a4"] - metrics["nats_float"])
    assert ("alpha" in metrics) == arm.endswith("_tuned") != ("nats_w8a8" in metrics)
    if arm in contenders.TUNED:
        place = contenders.ALPHAS.index(pytest.approx(metrics["alpha"]))
        assert found["losses"][place] == found["losses"].min() and len(found["losses"]) == 7
    if arm == "crossquant_tuned":
        save_file(on_smollm2.smollm2_kernels(length=12), tiny_smollm2 / "kernels")
        alphas = experiments.smollm2_alphas(
            **given, smollm2_arm=paths["smollm2_arm"], smollm2_kernels=tiny_smollm2 / "kernels"
        )
        assert -1 <= alphas["correlation"] <= 1 and len(alphas["kernels"]) == len(alphas["losses"]) == 7


@pytest.mark.usefixtures("tiny_smollm2")
def test_the_parts_of_the_text_differ() -> None:
    rows = {tuple(on_smollm2.rows_of(part, k, 12).flatten().tolist()) for part in ("test", "val") for k in range(5)}
    assert len(rows) == 10 and on_smollm2.rows_of("val", 0, 12).shape == (2, 12)


def test_the_kernel_of_a_pretrained_model(tiny_smollm2: Path) -> None:
    found = {}
    for bits in (4, 8):
        save_file(on_smollm2.smollm2_removal(bits=bits, length=12), tiny_smollm2 / "removal")
        found[bits] = metrics = experiments.smollm2_kernel(
            seed=0, bits=bits, length=12, smollm2_plain=tiny_smollm2 / "plain", smollm2_removal=tiny_smollm2 / "removal"
        )
        assert 0 < metrics["cross_kernel"] < 1 and 0 < metrics["token_kernel"] < 1
        assert metrics["removed_surplus"] == pytest.approx(metrics["removed"] - metrics["drop"] / 2)
        assert metrics["restored_surplus"] == pytest.approx(metrics["drop"] / 2 - metrics["restored"])
        text = on_smollm2.rows_of("test", 0, 12)
        layers = method.diagnose_layers(tiny_llama(), [text], bits=bits, alpha=1.0, skip=on_smollm2.SKIP).values()
        assert metrics["token_kernel"] == pytest.approx(sum(row.kernel for row in layers) / len(layers))
        without = method.without_kernel(tiny_llama(), bits=bits, skip=on_smollm2.SKIP)
        plain = on_wikitext.mean_nats(tiny_llama(), text)
        assert metrics["removed"] == pytest.approx(on_wikitext.mean_nats(without, text) - plain, abs=1e-6)
    assert found[4]["token_kernel"] > found[8]["token_kernel"] == found[8]["shares"][2] > found[8]["shares"][0]
    assert found[8]["rises"][2] == found[8]["removed"]
