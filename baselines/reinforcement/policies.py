"""Small policies that act on prompts: a bandit's, and two character language models that are fast on a CPU.

At the sizes of the calculator bench (one thread; medians of 6 interleaved rounds on a busy machine, as ratios) a
`TransformerPolicy` of 2 layers of width 64 takes 3.2 times as long as `RecurrentPolicy` to sample 256 responses of 22
tokens, and 1.5 times as long for forward and backward on 64; `transformer_models.small_decoder` of the same size takes
4.6 and 2.1 times as long.
Policies of published weights are in `baselines.reinforcement.pretrained_policies`.

Prompts are padded on the left to one width, and the padding is an ordinary symbol of theirs: no mask is needed, and a
response has the same distribution when it is sampled and when it is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self

import torch
from torch import nn
from torch.nn import functional as F

from baselines.reinforcement.policy_gradient import token_log_probs

Sampled = tuple[torch.Tensor, torch.Tensor]
"""Actions, int64 (B, T), and the mask of the response, bool (B, T), which ends with the first end token."""


class Policy(Protocol):
    """What `baselines.reinforcement.rollouts` needs of a policy; a torch module as well."""

    def sample(self, prompts: torch.Tensor, generator: torch.Generator, temperature: float = 1.0) -> Sampled:
        """Actions for prompts (B, ...), drawn from the generator, which lies on their device."""

    def logits(self, prompts: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Logits before each action, (B, T, V): position t has seen the prompt and the actions before t."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """As of any torch module."""

    def train(self, mode: bool = True) -> Self:
        """As of any torch module."""


class BanditPolicy(nn.Module):
    """One action per context: responses of length 1 from the logits (B, V) of any network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @torch.no_grad()
    def sample(self, prompts: torch.Tensor, generator: torch.Generator, temperature: float = 1.0) -> Sampled:
        actions = draw(self.network(prompts), generator, temperature)[:, None]
        return actions, torch.ones_like(actions, dtype=torch.bool)

    def logits(self, prompts: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - the protocol's
        return self.network(prompts)[:, None]


class LanguagePolicy(nn.Module, ABC):
    """A language model. A response ends with `end`, or after `max_tokens`."""

    end: int
    max_tokens: int

    @abstractmethod
    def begin(self, prompts: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """Logits (B, V) after the prompts (B, P), and a state to go on from."""

    @abstractmethod
    def step(self, tokens: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """Logits (B, V) after one more token each (B,), and the state after it."""

    @abstractmethod
    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits after each token, (B, L, V)."""

    @torch.no_grad()
    def sample(self, prompts: torch.Tensor, generator: torch.Generator, temperature: float = 1.0) -> Sampled:
        """Stops when all have ended: T is the length of the longest response. After an end stands `end` again."""
        logits, state = self.begin(prompts)
        going = torch.ones(len(prompts), dtype=torch.bool, device=prompts.device)
        actions: list[torch.Tensor] = []
        mask: list[torch.Tensor] = []
        while len(actions) < self.max_tokens and going.any():
            if actions:
                logits, state = self.step(actions[-1], state)
            drawn = draw(logits, generator, temperature).where(going, self.end)
            actions.append(drawn)
            mask.append(going)
            going = going & (drawn != self.end)
        return torch.stack(actions, 1), torch.stack(mask, 1)

    def logits(self, prompts: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        width = prompts.shape[1]
        return self.read(torch.cat([prompts, actions[:, :-1]], 1))[:, width - 1 :]


class RecurrentPolicy(LanguagePolicy):
    """Embedding, GRU, linear classifier: by default the sizes of the GSM8K calculator bench."""

    def __init__(self, vocabulary: int, *, end: int, max_tokens: int, embedding: int = 48, width: int = 128) -> None:
        super().__init__()
        self.end, self.max_tokens = end, max_tokens
        self.embed = nn.Embedding(vocabulary, embedding)
        self.recurrent = nn.GRU(embedding, width, batch_first=True)
        self.classifier = nn.Linear(width, vocabulary)

    def begin(self, prompts: torch.Tensor) -> tuple[torch.Tensor, Any]:
        outputs, state = self.recurrent(self.embed(prompts))
        return self.classifier(outputs[:, -1]), state

    def step(self, tokens: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        outputs, state = self.recurrent(self.embed(tokens[:, None]), state)
        return self.classifier(outputs[:, -1]), state

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.recurrent(self.embed(tokens))[0])


class _Block(nn.Module):
    """Pre-norm causal attention and GELU network (4 widths). A cache is a list that holds keys and values so far."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.ffn = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor, cache: list[torch.Tensor] | None = None) -> torch.Tensor:
        query, key, value = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if cache:
            key, value = torch.cat([cache[0], key], 2), torch.cat([cache[1], value], 2)
        # One query at a time comes last and may see all keys; otherwise queries and keys are the same tokens.
        read = F.scaled_dot_product_attention(query, key, value, is_causal=not cache)
        if cache is not None:
            cache[:] = [key, value]
        x = x + self.out(read.transpose(1, 2).flatten(-2))
        return x + self.ffn(self.norms[1](x))


class TransformerPolicy(LanguagePolicy):
    """A decoder with learned positions and a key-value cache. `length` bounds prompt and response together."""

    def __init__(
        self,
        vocabulary: int,
        *,
        end: int,
        max_tokens: int,
        length: int,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.end, self.max_tokens = end, max_tokens
        self.embed = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, vocabulary)

    def _hidden(self, tokens: torch.Tensor, caches: Sequence[list[torch.Tensor] | None], first: int) -> torch.Tensor:
        x = self.embed(tokens) + self.position[first : first + tokens.shape[1]]
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block(x, cache)
        return self.norm(x)

    def begin(self, prompts: torch.Tensor) -> tuple[torch.Tensor, Any]:
        caches: list[list[torch.Tensor]] = [[] for _ in self.blocks]
        return self.classifier(self._hidden(prompts, caches, 0)[:, -1]), caches

    def step(self, tokens: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return self.classifier(self._hidden(tokens[:, None], state, state[0][0].shape[2])[:, -1]), state

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.classifier(self._hidden(tokens, [None] * len(self.blocks), 0))


def draw(logits: torch.Tensor, generator: torch.Generator, temperature: float = 1.0) -> torch.Tensor:
    """One action per row of logits (B, V), int64 (B,). Temperature 0 takes the likeliest. Negative is a ValueError."""
    if temperature < 0:
        raise ValueError(f"a temperature is >= 0, got {temperature}")
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator).squeeze(-1)


def log_probs(policy: Policy, prompts: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """log p of each action, (B, T), at temperature 1."""
    return token_log_probs(policy.logits(prompts, actions), actions)
