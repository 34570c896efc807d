"""A cloud on one machine: AWS and Google as far as Sluice uses them, on loopback, for development and proofs.

`python -m local.cloud --home FOLDER` starts it; see `launcher`. Product code does not know that this package exists.
"""
