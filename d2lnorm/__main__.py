"""The package as a command: `python -m d2lnorm data` fetches Fashion-MNIST, `python -m d2lnorm train` trains on it."""

import argparse
import sys

from d2lnorm.data.fashion_mnist import FILES, FetchError, fetch_fashion_mnist
from d2lnorm.training import command


def main(arguments: list[str]) -> int:
    """Return the exit status: 0; 1 after a message without a traceback; 2 for a command there is not."""
    parser = argparse.ArgumentParser("python -m d2lnorm", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("data", help="fetch and verify Fashion-MNIST")
    command.add_arguments(commands.add_parser("train", help="train a net on it; under torchrun, by several processes"))
    try:
        given = parser.parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        if given.command == "train":
            command.run(given)
        else:
            raw = fetch_fashion_mnist()
            print(f"Fashion-MNIST: {len(FILES)} files in {raw.resolve()}, every SHA-256 right")
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if given.command == "data":
            print("\ninterrupted; run it again to go on: nothing half-done counts as data", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
