"""`python -m throughline.evaluator.watching`."""

import sys

from throughline.evaluator.watching.cli import main

sys.exit(main())
