"""Verdicts doubted, repeated, compared and traced back."""
