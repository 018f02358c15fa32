"""One module for each thing the server does for an editor."""
