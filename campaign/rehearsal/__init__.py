"""The rehearsal: the same driver, plan, journal, gate, verdicts, store, SQL,
statistics and report on simulated units in virtual time.

Simulated is what a unit would be: its heat, its memory, the program that the engine's parser reads, and what goes
wrong. Nothing of it was measured, every file and row says so, and none of it ever lies in the folder of a campaign that
measured.
"""
