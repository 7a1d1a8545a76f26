"""`python -m throughline`, and the console script."""

from __future__ import annotations

import sys

from throughline.cli import main

if __name__ == "__main__":
    sys.exit(main())
