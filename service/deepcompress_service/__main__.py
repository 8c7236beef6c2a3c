"""``python -m deepcompress_service`` is the ``deepcompress`` command."""

from .cli.entry import main

main()
