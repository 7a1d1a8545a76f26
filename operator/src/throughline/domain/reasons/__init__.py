"""Tables of reasons, one module for each family of conditions."""
