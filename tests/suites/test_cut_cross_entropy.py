"""Cut cross-entropy by hand, in half precision, what it refuses, its kernels, and the protocols at a tiny size."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from suites.cut_cross_entropy import experiments, on_smollm2, on_wikitext
from suites.cut_cross_entropy.method import PRESETS, Accumulator, linear_cross_entropy, streaming_log_sum_exp
from tests.baselines.tiny_models import TEXT, tiny_llama, tiny_tokenizer
from tests.conftest import ROOT, needed

CPU = torch.device("cpu")
E = torch.eye(2, dtype=torch.float64)
C = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
X = torch.tensor([0, 1])


def test_loss_by_hand() -> None:
    """Logits (1, 0, 0) and (0, 2, 0)."""
    expected = [math.log(math.e + 2) - 1, math.log(math.e**2 + 2) - 2]
    assert linear_cross_entropy(E, C, X, reduction="none").tolist() == pytest.approx(expected)
    assert float(linear_cross_entropy(E, C, X)) == pytest.approx(sum(expected) / 2)
    assert float(linear_cross_entropy(E, C, X, reduction="sum")) == pytest.approx(sum(expected))


def test_z_loss_and_log_sum_exp_by_hand() -> None:
    lse = [math.log(math.e + 2), math.log(math.e**2 + 2)]
    loss, found = linear_cross_entropy(E, C, X, reduction="none", z_loss=0.5, return_lse=True)
    assert found.tolist() == pytest.approx(lse)
    assert loss.tolist() == pytest.approx([lse[0] - 1 + 0.5 * lse[0] ** 2, lse[1] - 2 + 0.5 * lse[1] ** 2])


def test_shape_of_batches_and_shift() -> None:
    e, x = torch.randn(3, 5, 2, dtype=torch.float64), torch.randint(3, (3, 5))
    assert linear_cross_entropy(e, C, x, reduction="none", shift=2).shape == (3, 3)
    expected = F.cross_entropy((e[:, :-1] @ C.T).flatten(0, 1), x[:, 1:].flatten())
    assert float(linear_cross_entropy(e, C, x, shift=1)) == pytest.approx(float(expected))


def test_all_tokens_ignored() -> None:
    ignored = torch.full((2,), -100)
    for gradients in ("auto", "backward"):
        assert float(linear_cross_entropy(E, C, ignored, reduction="sum", gradients=gradients)) == 0
        assert linear_cross_entropy(E, C, ignored, reduction="none", gradients=gradients).tolist() == [0, 0]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("gradients", ["forward", "backward"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_no_worse_than_the_plain_loss(preset: str, gradients: str, dtype: torch.dtype) -> None:
    """Error against float64, beside that of cross-entropy in the same dtype, of the loss and of the gradients."""
    rng = torch.Generator().manual_seed(0)
    half = [torch.randn(shape, generator=rng).to(dtype).requires_grad_() for shape in ((37, 16), (123, 16))]
    x = torch.randint(123, (37,), generator=rng)
    wide = [one.detach().double().requires_grad_() for one in half]
    truth = F.cross_entropy(wide[0] @ wide[1].T, x)
    plain = F.cross_entropy(half[0] @ half[1].T, x)
    loss = linear_cross_entropy(*half, x, gradients=gradients, block=(16, 32), **PRESETS[preset])
    error, allowed = (float((one - truth).detach().abs()) for one in (loss, plain))
    assert error <= allowed + 1e-5
    exact, theirs, ours = (
        torch.autograd.grad(one, given) for one, given in ((truth, wide), (plain, half), (loss, half))
    )
    for a, b, c in zip(exact, theirs, ours, strict=True):
        assert c.dtype == dtype
        # The sum over four blocks in the input's dtype rounds a few times more than one product does.
        assert float((c - a).abs().max()) <= 3 * float((b - a).abs().max())


def test_no_gradient_and_gradients_of_one_input() -> None:
    with torch.no_grad():
        assert not linear_cross_entropy(E.clone().requires_grad_(), C, X).requires_grad
    c = C.clone().requires_grad_()
    linear_cross_entropy(E, c, X).backward()
    assert E.grad is None
    assert c.grad is not None


def test_the_gradients_of_the_forward_pass_are_given_once() -> None:
    loss = linear_cross_entropy(E.clone().requires_grad_(), C, X)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward twice"):
        loss.backward()
    loss = linear_cross_entropy(E.clone().requires_grad_(), C, X, gradients="backward")
    loss.backward(retain_graph=True)
    loss.backward()


@pytest.mark.parametrize("gradients", ["auto", "backward"])
def test_function_transforms(gradients: str) -> None:
    """torch.func.grad works, a compiler breaks its graph and says so, vmap is refused."""

    def loss(e: torch.Tensor) -> torch.Tensor:
        return linear_cross_entropy(e, C, X, gradients=gradients)

    (expected,) = torch.autograd.grad(F.cross_entropy((e := E.clone().requires_grad_()) @ C.T, X), e)
    torch.testing.assert_close(torch.func.grad(loss)(E), expected)
    compiled = torch.compile(loss, backend="eager")
    torch.testing.assert_close(torch.autograd.grad(compiled(e), e)[0], expected)
    with pytest.raises(RuntimeError, match="without fullgraph"):
        torch.compile(loss, backend="eager", fullgraph=True)(E)
    with pytest.raises(RuntimeError, match="vmap: whether a block"):
        torch.func.vmap(loss)(E.expand(3, 2, 2))


def test_results_have_the_widest_dtype_and_gradients_their_inputs() -> None:
    e, c = E.bfloat16().requires_grad_(), C.float().requires_grad_()
    loss = linear_cross_entropy(e, c, X, bias=torch.zeros(3, dtype=torch.float16))
    assert loss.dtype == torch.float32
    assert [one.dtype for one in torch.autograd.grad(loss, (e, c))] == [torch.bfloat16, torch.float32]


def test_streams() -> None:
    assert streaming_log_sum_exp([torch.zeros(1, 3), torch.zeros(1, 5)]).tolist() == pytest.approx([math.log(8)])
    with pytest.raises(ValueError, match="at least one"):
        streaming_log_sum_exp([])


def test_kahan_in_bfloat16_by_hand() -> None:
    """256 + 1 is 256 in bfloat16; four of them with compensation are 260."""
    for kind, expected in (("input", 256), ("kahan", 260), ("float32", 260)):
        sums = Accumulator(torch.zeros(1, 1, dtype=torch.bfloat16), kind)
        for term in (256.0, 1.0, 1.0, 1.0, 1.0):
            sums.add(slice(0, 1), torch.tensor([[term]]))
        assert float(sums.total) == expected


@pytest.mark.parametrize(
    "call",
    [
        lambda: linear_cross_entropy(E, C.long(), X),
        lambda: linear_cross_entropy(E, C[:, :1], X),
        lambda: linear_cross_entropy(E, C[:0], X),
        lambda: linear_cross_entropy(E, C, X.float()),
        lambda: linear_cross_entropy(E, C, X[:1]),
        lambda: linear_cross_entropy(E, C, X + 2),
        lambda: linear_cross_entropy(E, C, X - 1),
        lambda: linear_cross_entropy(E, C, X, bias=torch.zeros(2)),
        lambda: linear_cross_entropy(E, C, X, bias=torch.zeros(3, dtype=torch.int64)),
        lambda: linear_cross_entropy(E, C, X, softcap=0.0),
        lambda: linear_cross_entropy(E, C, X, shift=2),
        lambda: linear_cross_entropy(E, C, X, reduction="median"),
        lambda: linear_cross_entropy(E, C, X, accumulate="float8"),
        lambda: linear_cross_entropy(E, C, X, filter_eps=1.0),
        lambda: linear_cross_entropy(E, C, X, block=(0, 8)),
        lambda: linear_cross_entropy(E, C, X, block=()),
        lambda: linear_cross_entropy(E, C, X, gradients="forward", return_lse=True),
    ],
)
def test_refuses_what_is_no_problem(call) -> None:
    with pytest.raises(ValueError, match="must"):
        call()


@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="Triton is absent: PyTorch for CUDA brings it")
def test_kernels_in_the_interpreter() -> None:
    """Forward and backward in float32 against float64, the same blocks kept; in a process that Triton finds prepared."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.suites.cut_cross_entropy_kernels"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    found, of_views = map(float, done.stdout.split())
    assert found < 2e-4
    assert of_views < 5e-3  # the gradient of what was rounded to bfloat16 is rounded


@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="Triton is absent: PyTorch for CUDA brings it")
@pytest.mark.parametrize("kernel", ["_forward", "_backward"])
def test_kernels_compile_for_an_h100(kernel: str) -> None:
    """To machine code, with no GPU at hand, in bfloat16 with all options: within the shared memory that it has."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from suites.cut_cross_entropy import kernels

    function, (rows, columns, depth) = getattr(kernels, kernel), kernels.WIDE[kernel == "_backward"]
    types = dict.fromkeys(("E", "C", "Bias", "dE", "dC", "dBias"), "*bf16") | dict.fromkeys(("N", "V", "D"), "i32")
    types |= {"X": "*i64", "Order": "*i64", "Kept": "*i8", "softcap": "fp32", "eps": "fp32"}
    sizes = {"R": rows, "K": columns, "T": depth}
    constants = {name: sizes.get(name, True) for name in function.arg_names if name.isupper() and len(name) > 1}
    constants |= sizes
    signature = {name: "constexpr" if name in constants else types.get(name, "*fp32") for name in function.arg_names}
    options = {"num_warps": 8, "num_stages": 3}
    source = ASTSource(function, signature, constexprs=constants)
    found = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert found.metadata.shared <= 227 * 1024
    assert "wgmma" in found.asm["ptx"]


def test_costs_at_a_tiny_size() -> None:
    found = experiments.costs(seed=1000, device=CPU, n=16, d=8, v=64, rounds=2)
    assert len(found["cce_both_ms"]) == len(found["plain_forward_mib"]) == 2
    assert min(found["cce_both_mib"]) > 0


def test_memory_at_a_small_size() -> None:
    found = experiments.memory(seed=1000, n=512, d=8, v=8192)
    assert found["forward_ratio"] > 5
    assert found["beyond_vector"] <= 64


def test_language_model_at_a_tiny_size() -> None:
    needed("wikitext-2-heldout")
    found = experiments.language_model(seed=1000, vocabulary=300, steps=2)
    assert found["curve_gap"] < 1e-4
    assert 0 <= found["sorted"] <= 1
    assert "full_c_minus_plain" in experiments.convergence_heldout(seed=1000, device=CPU, vocabulary=300, steps=2)
    words = on_wikitext.corpus(300)
    assert int(words.train.max()) == 299
    assert len(words.validation) == 10_000


def test_convergence_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """WikiText-103's files: lines of words between blanks."""
    folder = tmp_path / "wikitext-103-v1"
    folder.mkdir()
    for part in ("train", "valid", "test"):
        lines = [" ".join(f"word{(7 * n * n) % 50}" for n in range(row, row + 30)) for row in range(20)]
        (folder / f"wiki.{part}.tokens").write_text(" \n " + " \n ".join(lines) + " \n")
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    found = experiments.convergence(seed=1000, device=CPU, vocabulary=20, steps=2)
    assert all(math.isfinite(value) for value in found.values())


def test_gpu_protocols_at_a_tiny_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU the plain passes stand in for the kernels, and a plain call for a compiled one."""
    found = experiments.fused_kernels(seed=1000, device=CPU, n=40, d=16, v=90)
    assert found["float32_error"] < 1e-5 < found["half_error"] < 0.01
    assert found["ignored_gradient"] == found["autocast_gap"] == 0 > found["filter_excess"]
    assert experiments.far_offsets(seed=1000, device=CPU, n=8, d=8, v=40)["far_error"] < 0.03
    monkeypatch.setattr(torch, "compile", lambda function: function)
    costs = experiments.costs_compiled(seed=1000, device=CPU, n=16, d=8, v=64, rounds=2)
    assert set(costs) >= {"compiled_both_ms", "cce_both_mib"}
    package = types.ModuleType("cut_cross_entropy")
    package.linear_cross_entropy = linear_cross_entropy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cut_cross_entropy", package)
    costs = experiments.costs_packages(seed=1000, device=CPU, package="cut_cross_entropy", n=16, d=8, v=64, rounds=2)
    assert len(costs["package_forward_ms"]) == 2


@pytest.fixture
def tiny_model(monkeypatch: pytest.MonkeyPatch) -> None:
    text = types.SimpleNamespace(text="\n".join([TEXT[k:] * 9 for k in range(10)]))
    monkeypatch.setattr(on_smollm2, "pretrained", lambda name: (tiny_llama(), tiny_tokenizer()))
    monkeypatch.setattr(on_smollm2.reference, "load", lambda name, part: text)


@pytest.mark.usefixtures("tiny_model")
def test_the_head_of_a_pretrained_model() -> None:
    found = experiments.smollm2_head(seed=3, rows=2, length=12)
    assert found["loss_gap"] < 1e-5 and found["gradient_gap"] < 1e-4 and found["filtered_gap"] < 1e-3
    assert found["large_count"] == pytest.approx(300) and found["small_mass"] == 0  # nearly uniform: all above 2^-12
    assert found["kept_natural"] == found["kept_sorted"] == 1
    assert found["nats"] == pytest.approx(math.log(300), abs=1)


@pytest.mark.usefixtures("tiny_model")
def test_a_step_of_a_pretrained_model_and_its_costs() -> None:
    step = experiments.smollm2_step(seed=1, length=12)
    assert step["exact_gap"] < 1e-4 and step["filtered_gap"] < 1e-4 and step["fall"] > 0
    assert step["exact_after"] == pytest.approx(step["plain_after"], abs=1e-5)
    costs = experiments.smollm2_costs(seed=0, device=torch.device("cpu"), rows=2, length=12, rounds=2)
    assert len(costs["cce_both_ms"]) == len(costs["plain_both_mib"]) == 2 and min(costs["cce_both_mib"]) > 0
