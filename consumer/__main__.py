"""`python -m consumer` is the command `consumer`."""

import sys

from consumer.cli import main

sys.exit(main())
