"""Run the command line: `python -m ltxflow`."""

import sys

from ltxflow.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
