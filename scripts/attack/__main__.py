"""`python -m scripts.attack`: attacks the package and counts what it survives."""

import sys

from arsg_optax.demos.cli import guarded
from scripts.attack.campaign import main

if __name__ == "__main__":
    sys.exit(guarded("attack", lambda: main(sys.argv[1:])))
