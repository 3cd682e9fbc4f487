"""Model in, result out: engines, the scheduler that shares them, models on disk."""

import os

# Lanes are granted cores by their device; a library that brings threads of its own for small
# matrices takes them from the others. Read when numpy is imported, so it comes first.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
