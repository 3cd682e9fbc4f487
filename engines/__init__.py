"""Model in, result out: engines, the scheduler that shares them, models on disk."""
