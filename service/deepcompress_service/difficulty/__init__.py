"""Difficulty state: what a run knows of its level and its problems, and the stores that keep it.

`model` has the words as frozen dataclasses, `store` the protocol every store fulfils, `engine` the semantics.
Knows nothing of HTTP, of answers or of rewards.
"""
