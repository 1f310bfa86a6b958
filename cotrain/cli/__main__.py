"""`python -m cotrain.cli` is `cotrain`."""

import sys

from cotrain.cli import main

if __name__ == "__main__":
    sys.exit(main())
