"""Published weights, as tensors by name: what a model's `load_state_dict` takes. Nothing in a file is executed."""

from __future__ import annotations

import pickle

import torch

from reference.catalog import DataError, get

Weights = dict[str, torch.Tensor]


def robustbench_cifar10(split: str) -> Weights:
    """WRN-28-10, trained on clean CIFAR-10 images in [0, 1] without normalisation."""
    return _checkpoint("robustbench-cifar10", "Standard.pt", split)


def robustbench_cifar100(split: str) -> Weights:
    """ResNeXt-29 4x32d, trained by AugMix on CIFAR-100 images that were normalised by mean and deviation 0.5."""
    return _checkpoint("robustbench-cifar100", "Hendrycks2020AugMix_ResNeXt.pt", split)


def torchvision_resnet50(split: str) -> Weights:
    """ResNet-50, torchvision's first weights (IMAGENET1K_V1)."""
    return _checkpoint("torchvision-resnet50", "resnet50-0676ba61.pth", split)


def _checkpoint(name: str, file: str, split: str) -> Weights:
    """The tensors of a file that holds them directly or under "state_dict", without a "module." before their names."""
    if split != "all":
        raise DataError(f"'{name}' has no split '{split}': weights are whole")
    path = get(name).require() / file
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise DataError(
            f"{path} holds more than tensors and is not read ({error}): where you trust it, load it, and save its "
            "'state_dict' alone under the same name"
        ) from error
    weights = found.get("state_dict", found)
    return {key.removeprefix("module."): value for key, value in weights.items() if isinstance(value, torch.Tensor)}
