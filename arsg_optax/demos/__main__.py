"""`python -m arsg_optax.demos` is the `arsg` command."""

import sys

from arsg_optax.demos.cli import main

if __name__ == "__main__":
    sys.exit(main())
