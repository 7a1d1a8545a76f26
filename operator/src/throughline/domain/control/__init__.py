"""The control loop of one service, a pipeline: observe → estimate → predict → optimise → act → explain.

Each stage is a folder. `loop.decide` runs them in this order; `state.ControllerState` has one part for each stage,
which writes it and no other. No stage imports a later one (import-linter holds that); the queueing model is below all.
"""
