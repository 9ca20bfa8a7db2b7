"""The agents, the market feed and their kernels."""

import os

# BLAS begins its threads when numpy is loaded, and they spin: a tenth of a second of a core in each process.
# The products of our small matrices use none of them. Who names a number keeps it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
