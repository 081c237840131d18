"""How large the tensors are that a computation makes: what a claim on memory is held against, on any device.

    with LargestTensor() as seen:
        loss(x).backward()
    assert seen.numbers <= x.numel()

Torch's functions and methods are watched as they are called: what they make inside, and backward passes, stay unseen,
and so does the time of the first use of a dispatch mode, seconds of imports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class LargestTensor(TorchFunctionMode):
    """`numbers` is how many numbers the largest tensor had that a call returned while this was on."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return made
