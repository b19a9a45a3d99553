"""What takes how long, beside the plain way."""
