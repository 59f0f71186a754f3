"""The same jobs, written for each engine; a process loads the file of its own engine only."""
