"""What must never happen, tried until the time is over, and counted."""
