"""`python -m paradp.scripts`: the command line if the command `paradp` is not installed, as in a checkout."""

from paradp.scripts.main import main

main()
