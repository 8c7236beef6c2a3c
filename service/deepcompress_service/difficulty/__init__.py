"""Difficulty state: the level of each run, the state of its problems, and the stores that keep them.

`model` defines the terms as dataclasses, `store` the protocol of every store, `engine` the semantics, `stores` the
implementations. Independent of HTTP, of answers and of rewards.
"""
