"""The jointed figure: its body, its movements, its looks and how they are drawn."""
