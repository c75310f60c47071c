"""``python -m cwcf_jax.weights``: ``cwcf weights`` where ``cwcf`` is not on the path."""

import argparse
import sys

from cwcf_jax.weights import commands


def main() -> int:
    """Return exit code 0: done; 1: it could not be done, the reason is on stderr; 130: interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m cwcf_jax.weights",
        description="Gets weights of networks and makes checkpoints of them.",
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
