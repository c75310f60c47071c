"""This module runs ``python -m cwcf_jax.weights``, which is ``cwcf weights`` where ``cwcf`` is not on the path."""

import argparse
import sys

from cwcf_jax.weights import commands


def main() -> int:
    """Runs a command and returns the exit code: 0 after success, 1 after an error, 130 after an interruption."""
    parser = argparse.ArgumentParser(
        prog="python -m cwcf_jax.weights",
        description="Downloads weights of networks and converts them to checkpoints.",
        epilog=f"examples:\n{commands.EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands.add_arguments(parser)
    try:
        return commands.run(parser.parse_args())
    except KeyboardInterrupt:
        print("\ninterrupted; the same command starts again", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(f"cwcf weights: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
