"""`python -m throughline.evaluator.sampling`."""

import sys

from throughline.evaluator.sampling.supervisor import main

sys.exit(main())
