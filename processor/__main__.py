"""`python -m processor` is `sendlog`."""

from processor.cli.main import main

if __name__ == "__main__":
    main()
