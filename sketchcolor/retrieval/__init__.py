"""Finding the picture that looks most like a sketch."""
