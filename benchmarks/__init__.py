"""What takes how long, beside the plain way."""

import san.command  # noqa: F401 (before torch: it sets how the threads of a command wait)
