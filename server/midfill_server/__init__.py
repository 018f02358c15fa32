"""The adapter: a language server and a command line around the library."""
