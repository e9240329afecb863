"""Training steps: forward, backward and update as one compiled module, whose parameters stay in native memory."""
