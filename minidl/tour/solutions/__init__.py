"""What fills the holes: ``s01.py`` defines what the exercises of chapter 1 leave open, under the same names."""
