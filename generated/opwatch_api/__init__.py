"""The typed clients and models of the three services. Generated from specs/: never edit."""
