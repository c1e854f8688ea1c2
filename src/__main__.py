"""Runs the command line: `python -m headrace`."""

import sys
from pathlib import Path

# Python puts the folder of a script first. From there, modules of this package would hide those of users.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]

from headrace.cli.main import main

if __name__ == "__main__":
    main()
