"""`python -m cotrain` is `cotrain`: for launchers that start modules, as `torchrun -m cotrain run ...` does."""

import sys

from cotrain.cli import main

if __name__ == "__main__":
    sys.exit(main())
