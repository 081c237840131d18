"""`python -m crossexam` and the `crossexam` command."""

import sys


def main() -> None:
    """Run the command line and exit with its status."""
    from crossexam.showing.cli import run_app  # here, so that importing this module stays cheap

    sys.exit(run_app())


if __name__ == "__main__":
    main()
