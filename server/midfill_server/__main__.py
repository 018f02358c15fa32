"""`python -m midfill_server` is `midfill`."""

from midfill_server.cli import main

main()
