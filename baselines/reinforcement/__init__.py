"""Reinforcement learning with verifiable rewards: problems, policies, rollouts, policy gradients."""
