"""Verify, shape and score: the pipeline between the API and the domains, free of HTTP."""
