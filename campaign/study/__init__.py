"""A study: campaigns one after another, each decided on by the evidence of those before, and one report over all.

``config`` reads the file and makes a phase into an ordinary campaign; ``decision`` says what the next phase is,
``record`` keeps that, ``conduct`` carries the phases out. Below one study folder every phase is a results folder like
any other.
"""
