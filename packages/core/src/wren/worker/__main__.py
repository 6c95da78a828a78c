"""`python -m wren.worker SHELL ARGUMENT...`: a worker."""

import sys

from wren.worker import pipe

SHELLS = {"pipe": pipe.main}

SHELLS[sys.argv[1]](sys.argv[2:])
