"""A tiny Llama as a policy, chat prompts from a tokeniser of its own, and what counts as an answer."""

from __future__ import annotations

import pytest
import torch

from baselines.reinforcement.policies import log_probs
from baselines.reinforcement.policy_gradient import ppo
from baselines.reinforcement.pretrained_policies import PretrainedPolicy, answered, word_problems
from baselines.reinforcement.rollouts import collect, surrogate, train_policy
from baselines.transformer_models import small_decoder
from reference.text import Problem


class Letters:
    """A tokeniser of one token a character; 0 pads and ends, as in base models."""

    pad_token_id = eos_token_id = 0

    def apply_chat_template(self, conversation, **options) -> list[int]:  # noqa: ARG002 - transformers' own
        return [ord(letter) - 31 for letter in "".join(one["content"] for one in conversation)]

    def decode(self, token_ids, **options) -> str:  # noqa: ARG002
        return "".join(chr(int(token) + 31) for token in token_ids if token)


def policy(rows: int = 64) -> PretrainedPolicy:
    torch.manual_seed(0)
    return PretrainedPolicy(
        small_decoder(97, width=16, depth=2, heads=2, length=40), pad=0, end=0, max_tokens=6, rows=rows
    ).eval()


def test_padding_and_cache_change_nothing() -> None:
    chosen = policy()
    tokens = torch.randint(1, 97, (3, 8), generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(tokens, (4, 0))
    read = chosen.read(tokens)
    torch.testing.assert_close(chosen.read(padded)[:, 4:], read, atol=1e-5, rtol=1e-4)
    logits, state = chosen.begin(padded[:, :9])
    torch.testing.assert_close(logits, read[:, 4], atol=1e-5, rtol=1e-4)
    for place in range(5, 8):
        logits, state = chosen.step(tokens[:, place], state)
        torch.testing.assert_close(logits, read[:, place], atol=1e-5, rtol=1e-4)


def test_samples_in_parts() -> None:
    chosen = policy(rows=3)
    actions, mask = chosen.sample(torch.randint(1, 97, (8, 5)), torch.Generator().manual_seed(0))
    assert actions.shape == mask.shape and len(actions) == 8
    assert log_probs(chosen, torch.ones(8, 5, dtype=torch.long), actions).isfinite().all()


def test_samples_with_gradient_checkpointing() -> None:
    """In training mode too the likeliest tokens are those that are read off."""
    chosen = policy().train()
    chosen.model.gradient_checkpointing_enable()
    prompts = torch.randint(1, 97, (4, 5), generator=torch.Generator().manual_seed(1))
    actions, mask = chosen.sample(prompts, torch.Generator(), temperature=0.0)
    assert chosen.training
    assert torch.equal(chosen.logits(prompts, actions).argmax(-1)[mask], actions[mask])


def test_word_problems_in_the_loop() -> None:
    problems = word_problems(
        [Problem("1+1", "", "2"), Problem("much too long", "", "3"), Problem("5", "", "5")], Letters(), longest=5,
        template="Q{question}",
    )  # fmt: skip
    assert len(problems) == 2 and problems.prompts.shape == (2, 4)
    assert Letters().decode(problems.prompts[1]) == "Q5"
    text = "Answer: 5"
    actions = torch.tensor([[ord(letter) - 31 for letter in text]] * 2)
    assert problems.verify(actions, actions > 0, problems.answers).tolist() == [False, True]
    steps = train_policy(
        policy().train(), problems, surrogate(ppo), steps=1, questions=2, samples=2, minibatches=1, micro_batches=2,
        seed=0, dynamic=True, optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
    )  # fmt: skip
    assert 0 <= steps[0].accuracy <= 1
    assert len(collect(policy(), problems, 2, 3, torch.Generator().manual_seed(0), temperature=0.0).ids) == 6
    with pytest.raises(ValueError, match="at most 1"):
        word_problems([Problem("12", "", "3")], Letters(), longest=1)


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("so it is\nAnswer: 12", "12", True),
        ("Answer: 3\nno:\nAnswer: 12", "12", True),
        ("Answer: 12", "13", False),
        ("Answer: $1,234$", "1234", True),
        ("Answer: 12.0", "12", True),
        (r"hence \boxed{\frac{1}{2}}.", r"\dfrac{1}{2}", True),
        (r"hence \boxed{3}", "4", False),
        (r"Answer: $\boxed{7}$", "7", True),
        (r"Answer: \left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})", True),
        (r"\boxed{1", "1", False),
        ("twelve", "12", False),
    ],
)
def test_answers(text: str, answer: str, right: bool) -> None:
    assert answered(text, answer) is right
