"""The control loop's decisions: learn, predict, choose, watch."""
