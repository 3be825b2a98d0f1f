"""The command line: ``python -m SpineSegLib --help``."""

import signal
import sys

from SpineSegLib.cli import main

if __name__ == "__main__":
    # Whoever ends the program (SIGTERM) lets it clean up like Ctrl+C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
