"""A register tile that multiplies at the peak of the processor, and what feeds it."""
