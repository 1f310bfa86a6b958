"""Settings that every test shares."""

import os

# Before torch is imported, here and in the processes that tests start: sums in another number of threads round
# otherwise, and runs of two processes would not be equal bit for bit. The networks of tests are too small for two.
os.environ["OMP_NUM_THREADS"] = "1"
