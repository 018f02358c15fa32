"""What other programs do with the same weights: their prompt policies, stop rules and filters, as pure functions.

Each was written anew from what its source does (the commit is named in the module), and no code was copied.
`peer` runs them on any `Engine`.
"""
