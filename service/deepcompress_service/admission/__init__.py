"""Admission of work: limits on what is in progress at once, and turns for what waits."""
