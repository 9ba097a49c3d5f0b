"""`make bench`: the webhook against the floor of its framework, in one run.

A launcher: this file has the name of the program that it measures, so the folder leaves the search path first.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.run import main  # noqa: E402 - only now does `bench` lead here

if __name__ == "__main__":
    sys.exit(main())
