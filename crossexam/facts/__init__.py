"""What a paper says, as checked data: `paper.toml` and what it may hold."""
