"""Strict models of what goes over the wire. Generated from specs/: never edit."""
