"""What is done to texts before they are compared; `normalise.py` names them all."""
