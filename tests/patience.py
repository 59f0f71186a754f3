"""The one time that tests know. They wait for events; what has not come after this long hangs, on any machine."""

HANG = 1800  # seconds
