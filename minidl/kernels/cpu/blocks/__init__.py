"""Blocks of modules as one operation: branches side by side, folded networks, many steps in one launch."""
