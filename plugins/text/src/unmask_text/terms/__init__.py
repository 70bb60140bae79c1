"""Terms: further summands of the loss of any method on documents."""
