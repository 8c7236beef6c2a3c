"""The command line, ``deepcompress``. One file a command; ``app.py`` puts them together, ``entry.py`` is the
door that opens on a base install too. A command's heavy imports stand inside its function, so that
``deepcompress --help`` answers at once.
"""
