"""The experiments of crossquant: each measures and returns metrics; the rules that judge them are in paper.toml."""

from __future__ import annotations

from pathlib import Path

import torch

from suites.crossquant import exact, measured, networks

Metrics = dict[str, float | list[float]]

# Exact tier.


def steps_and_codes(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.steps_and_codes(seed)


def limits(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.limits(seed)


def monotonicity(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.monotonicity(seed)


def kernel_sizes(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.kernel_sizes(seed)


def single_token(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.single_token(seed)


def matrix_products(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.matrix_products(seed)


def diagnostics(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.diagnostics(seed)


def weights(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.weights(seed)


def zeros_and_types(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.zeros_and_types(seed)


def layers(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.layers(seed)


def refusals(*, arm: str, seed: int, device: torch.device) -> Metrics:
    return exact.refusals(seed)


# Small tier: networks on digits and Fashion-MNIST, and a decoder on the bytes of WikiText-2.


def trained(*, seed: int, device: torch.device, dataset: str) -> dict[str, torch.Tensor]:
    return networks.train_mlp(dataset, seed)


def preserved(*, arm: str, seed: int, device: torch.device, dataset: str, trained: Path) -> Metrics:
    return measured.preserved(seed, dataset, trained)


def quantised_mlp(*, arm: str, seed: int, device: torch.device, dataset: str, trained: Path) -> Metrics:
    return measured.quantised_mlp(arm, seed, dataset, trained)


def kernel_is_causal(
    *, arm: str, seed: int, device: torch.device, dataset: str, bits: int, scale: int, trained: Path
) -> Metrics:
    return measured.kernel_is_causal(seed, dataset, bits, scale, trained)


def activation_statistics(
    *, arm: str, seed: int, device: torch.device, dataset: str, scale: int, trained: Path
) -> Metrics:
    return measured.activation_statistics(seed, dataset, scale, trained)


def case_one_and_advantage(*, arm: str, seed: int, device: torch.device, dataset: str, trained: Path) -> Metrics:
    return measured.case_one_and_advantage(seed, dataset, trained)


def trained_decoder(*, seed: int, device: torch.device, steps: int) -> dict[str, torch.Tensor]:
    return networks.train_decoder(seed, steps)


def quantised_decoder(*, arm: str, seed: int, device: torch.device, steps: int, trained_decoder: Path) -> Metrics:
    return measured.quantised_decoder(arm, seed, trained_decoder)


def decoder_statistics(
    *, arm: str, seed: int, device: torch.device, steps: int, scale: int, trained_decoder: Path
) -> Metrics:
    return measured.decoder_statistics(seed, scale, trained_decoder)


def decoding(*, arm: str, seed: int, device: torch.device, steps: int, bits: int, trained_decoder: Path) -> Metrics:
    return measured.decoding(seed, bits, trained_decoder)


# Full tier. transformers is an extra, and slow to import: only what needs it does.


def opt_125m(
    *, arm: str, seed: int, device: torch.device, setting: str, length: int, group_size: int = 128, limit: int = 0
) -> Metrics:
    from suites.crossquant import opt

    return opt.wikitext(
        "opt-125m", arm, seed, device, setting=setting, length=length, group_size=group_size, limit=limit
    )


def opt_1_3b(
    *, arm: str, seed: int, device: torch.device, setting: str, length: int, group_size: int = 128, limit: int = 0
) -> Metrics:
    from suites.crossquant import opt

    return opt.wikitext(
        "opt-1.3b", arm, seed, device, setting=setting, length=length, group_size=group_size, limit=limit
    )


def opt_6_7b(
    *, arm: str, seed: int, device: torch.device, setting: str, length: int, group_size: int = 128, limit: int = 0
) -> Metrics:
    from suites.crossquant import opt

    return opt.wikitext(
        "opt-6.7b", arm, seed, device, setting=setting, length=length, group_size=group_size, limit=limit
    )


def opt_6_7b_kernel(*, arm: str, seed: int, device: torch.device, length: int, limit: int = 0) -> Metrics:
    from suites.crossquant import opt

    return opt.removal("opt-6.7b", seed, device, length=length, limit=limit)
