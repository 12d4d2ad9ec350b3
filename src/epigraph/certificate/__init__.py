"""Evidence that stands alone: certificate files, and a verifier that needs neither torch nor the user's model.

``exact``   evaluates the graph of a certificate in rational numbers or in Arb balls, and certifies a gap
``format``  writes and reads ``.epi`` files
``verify``  checks a file: ``python -m epigraph.certificate.verify FILE``
"""
