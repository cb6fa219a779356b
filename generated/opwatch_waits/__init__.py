"""What each service's answers say about a job. Generated from specs/: never edit."""
