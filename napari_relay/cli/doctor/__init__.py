"""`napari-relay doctor`: what is wrong with this machine, and the one command that mends it.

`facts.py` says what is looked at, `gather.py` looks (risky things in processes of their own, with a time limit), and
the `checks_*` files turn facts into findings: pure functions, so that any broken machine can be tested. Read
facts.py first.
"""

from napari_relay.cli.doctor.command import doctor

__all__ = ["doctor"]
