"""The command line, ``deepcompress``: one file a command.

``app.py`` registers the commands. ``entry.py`` is the entry point, which also runs on a base install. A command's
heavy imports are inside its function, so that ``deepcompress --help`` answers at once.
"""
