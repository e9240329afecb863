"""What a model holds and what the compiler decided about it, as data that the command line prints."""
