"""What papers are compared with: shared models, losses, training loops and metrics in plain PyTorch."""
