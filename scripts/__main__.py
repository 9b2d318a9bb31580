"""`python -m paradp.scripts`: the command line where the command `paradp` is not installed, as from a checkout."""

from paradp.scripts.main import main

main()
