"""`python -m processor` is `sendlog`."""

from processor.cli import main

if __name__ == "__main__":
    main()
