"""Tests of the pipeline's parts that need no HTTP."""
