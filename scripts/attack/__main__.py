"""`python -m scripts.attack`: attacks the package and counts what it survives."""

import signal
import sys

from arsg_optax.demos.cli import guarded
from scripts.attack.campaign import main

if __name__ == "__main__":
    # Either ends with the table, also where a shell in the background ignores Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(guarded("attack", lambda: main(sys.argv[1:])))
