"""The package as a command: `python -m d2lnorm data` fetches and verifies Fashion-MNIST."""

import sys

from d2lnorm.data.fashion_mnist import FILES, FetchError, fetch_fashion_mnist


def main(arguments: list[str]) -> int:
    """Return the exit status: 0; 1 after a message without a traceback; 2 for a command there is not."""
    if arguments != ["data"]:
        print("usage: python -m d2lnorm data   (fetch and verify Fashion-MNIST)", file=sys.stderr)
        return 2
    try:
        raw = fetch_fashion_mnist()
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run it again to go on: nothing half-done counts as data", file=sys.stderr)
        return 130
    print(f"Fashion-MNIST: {len(FILES)} files in {raw.resolve()}, every SHA-256 right")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
