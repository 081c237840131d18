"""nn.MultiheadAttention with its projections as layers that are called, so that they can be quantised.

PyTorch's own reads `in_proj_weight` and `out_proj.weight` and calls no projection: a hook sees no input of theirs, and
what is put in the place of `out_proj` is ignored but for its weight.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class ProjectedAttention(nn.Module):
    """In place of an nn.MultiheadAttention: nn.Linear layers `query`, `key`, `value` and `out`, with its parameters.

    Raises ValueError for one with `add_bias_kv` or `add_zero_attn`.
    """

    in_proj_bias = None  # what nn.TransformerEncoderLayer asks before it takes a path that calls no layers

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        if attention.bias_k is not None or attention.add_zero_attn:
            raise ValueError("an attention with add_bias_kv or add_zero_attn has no form of plain linear layers")
        self.heads, self.dropout, self.batch_first = attention.num_heads, attention.dropout, attention.batch_first
        if attention.in_proj_weight is not None:
            weights = attention.in_proj_weight.chunk(3)
        else:
            weights = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
        biases = (None,) * 3 if attention.in_proj_bias is None else attention.in_proj_bias.chunk(3)
        self.query, self.key, self.value = (linear(*pair) for pair in zip(weights, biases, strict=True))
        self.out = linear(attention.out_proj.weight, attention.out_proj.bias)
        self.train(attention.training)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Arguments, shapes and results of nn.MultiheadAttention."""
        if is_causal and attn_mask is None:
            raise ValueError("is_causal only says of which kind attn_mask is: pass the mask too")
        swap = query.dim() == 3 and not self.batch_first
        inputs = [x.transpose(0, 1) if swap else x for x in (query, key, value)]
        projections = zip((self.query, self.key, self.value), inputs, strict=True)
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(-3, -2) for layer, x in projections)
        scores = q @ k.mT / q.shape[-1] ** 0.5
        if attn_mask is not None:  # (T, S), or (B heads, T, S)
            own = attn_mask.unflatten(0, (-1, self.heads)) if attn_mask.dim() == 3 and scores.dim() == 4 else attn_mask
            scores = scores + additive(own, scores)
        if key_padding_mask is not None:
            scores = scores + additive(key_padding_mask, scores)[..., None, None, :]
        shares = F.dropout(scores.softmax(-1), self.dropout, self.training)
        mixed = self.out((shares @ v).transpose(-3, -2).flatten(-2))
        weights = (shares.mean(-3) if average_attn_weights else shares) if need_weights else None
        return mixed.transpose(0, 1) if swap else mixed, weights


def linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    """An nn.Linear with these values, as parameters of its own."""
    layer = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight.detach().clone(), weight.requires_grad)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), bias.requires_grad)
    return layer


def additive(mask: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """A mask as it is added to scores: a boolean one is True where nothing is read."""
    if mask.dtype != torch.bool:
        return mask.to(scores)
    return torch.zeros_like(mask, dtype=scores.dtype).masked_fill(mask, -torch.inf)


def project_attention_(model: nn.Module) -> nn.Module:
    """Put a `ProjectedAttention` in the place of every nn.MultiheadAttention, and return the model.

    Without one the model stays as it is. Raises ValueError for a model that is an attention itself.
    """
    if isinstance(model, nn.MultiheadAttention):
        raise ValueError("the model must contain its attention, and not be one")
    made: dict[nn.Module, ProjectedAttention] = {}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, nn.MultiheadAttention):
                made[child] = made.get(child) or ProjectedAttention(child)
                setattr(parent, name, made[child])
    return model
