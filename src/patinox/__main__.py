"""`python -m patinox` is the command line `patinox`."""

import sys

if __name__ == "__main__":
    try:
        from patinox.cli import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
