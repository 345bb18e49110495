"""``python -m emotailor`` is the command ``emotailor``."""

from emotailor.cli import main

main()
