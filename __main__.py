"""Entry point of `sdnode` and of `python -m spacedrive_node`."""

import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        from .cli import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # while that is imported; later it is handled there
        return 130


if __name__ == "__main__":
    sys.exit(main())
