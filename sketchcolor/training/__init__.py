"""How each file in models/ was made."""
