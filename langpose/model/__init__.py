"""The network of section 3.1: pose encoder, text encoder, the two together, and the import of MotionBERT's weights."""
