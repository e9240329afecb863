"""Miniatures of real exported models, and the script that writes them."""
