"""`python -m marscf` is the `marscf` command."""

import sys

from marscf.cli import main

sys.exit(main())
