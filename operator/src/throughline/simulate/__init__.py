"""Hours of traffic in virtual time: what a service would have cost, and whom it would have kept waiting."""
