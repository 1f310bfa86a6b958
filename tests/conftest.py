"""Settings that every test shares."""

import os
import signal

# Before torch is imported, here and in the processes that tests start: sums in another number of threads round
# otherwise, and runs of two processes would not be equal bit for bit. The networks of tests are too small for two.
os.environ["OMP_NUM_THREADS"] = "1"
# a shell's background job ignores Ctrl-C, and so would the processes whose answer to it is tested
signal.signal(signal.SIGINT, signal.default_int_handler)
