"""Stand-ins for the images of the study: small ones, made on the spot,
that a campaign runs as it would run the real ones.

``programs`` is what is installed inside, ``image`` makes images of it, ``campaigns`` writes campaigns on them.
"""
