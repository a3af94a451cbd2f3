"""`python -m patinox` is the command line `patinox`."""

import sys

from patinox.cli import main

if __name__ == "__main__":
    sys.exit(main())
