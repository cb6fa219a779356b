"""A service of somebody else's, with a client as the generator writes it."""
