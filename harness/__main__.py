"""`python -m harness`."""

from harness.cli import main

if __name__ == "__main__":  # the children of a run import the main module under another name
    main()
