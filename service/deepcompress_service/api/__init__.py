"""HTTP: where verification, shaping and difficulty meet.

`rewards` is the meeting itself, free of HTTP; the route files around it are thin.
"""
