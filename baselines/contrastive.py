r"""Contrastive losses on features, with cosine similarities: supervised (SupCon) and between views (NT-Xent)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from baselines.losses import Reduction, reduce, require, widened


def supcon(
    features: torch.Tensor, labels: torch.Tensor, *, temperature: float = 0.1, reduction: Reduction = "mean"
) -> torch.Tensor:
    r"""The supervised contrastive loss, its form L_out (Khosla et al. 2020).

    l_i = -1/|P(i)| sum_{j in P(i)} log( exp(s_ij / T) / sum_{k != i} exp(s_ik / T) ) with s the cosine similarity and
    P(i) the other rows of i's label. An anchor without positives has loss 0 and does not count in the mean.

    Args:
        features: (N, D), or (N, V, D) with V views of each example; they are L2-normalised here.
        labels: int64 (N,), shared by the views of an example.
        reduction: "none" gives (N,) or (N V,), view by view within an example.

    Computed in float32 at least, also under autocast: s / T in half precision has too few digits. So is the result.
    """
    require(features.dim() in (2, 3), "features must be (N, D) or (N, V, D)", tuple(features.shape))
    require(labels.shape == features.shape[:1], "labels must have shape (N,)", tuple(labels.shape))
    require(labels.dtype == torch.int64, "labels must be int64", labels.dtype)
    require(temperature > 0, "temperature must be positive", temperature)
    if features.dim() == 3:
        labels = labels.repeat_interleave(features.shape[1])
    require(len(labels) >= 2, "a contrast needs at least two rows", len(labels))
    with torch.autocast(features.device.type, enabled=False):
        units = F.normalize(widened(features).reshape(len(labels), -1), dim=1)
        itself = torch.eye(len(labels), dtype=torch.bool, device=features.device)
        similarity = (units @ units.T / temperature).masked_fill(itself, -torch.inf)
        positive = (labels[:, None] == labels) & ~itself
        # Off the positives the logarithm is not needed, and on the diagonal it is -inf: zero both.
        logs = F.log_softmax(similarity, dim=1).masked_fill(~positive, 0.0)
        counts = positive.sum(1)
        losses = -logs.sum(1) / counts.clamp_min(1)
    if reduction == "mean":
        return losses.sum() / (counts > 0).sum().clamp_min(1)
    return reduce(losses, reduction)


def nt_xent(features: torch.Tensor, *, temperature: float = 0.5, reduction: Reduction = "mean") -> torch.Tensor:
    """The normalised temperature-scaled cross-entropy of SimCLR (Chen et al. 2020): features (N, V, D), V >= 2 views.

    -log( exp(s_ij / T) / sum_{k != i} exp(s_ik / T) ) over the pairs i, j of views of one example: SupCon where every
    example is a class of its own. "none" gives (N V,).
    """
    require(features.dim() == 3 and features.shape[1] >= 2, "features must be (N, V, D), V >= 2", tuple(features.shape))
    examples = torch.arange(len(features), device=features.device)
    return supcon(features, examples, temperature=temperature, reduction=reduction)
