"""Strict models of the services. Generated from specs/: never edit."""
