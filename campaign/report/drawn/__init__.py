"""The figures, each drawn by one function: a connection, a width and a look in (:mod:`campaign.report.drawn.look`),
an Altair chart out.

An axis says quantity (unit). Arms differ by colour and by shape or dash, in the palette of Okabe and Ito (2008), which
holds for colour-blind readers and in grey. Every figure of runs shows each run; no line joins arms or models. A
function returns None where there is nothing to draw. What the page shows is listed in ``report/figures.py``, what an
article has in ``report/paper``.
"""
