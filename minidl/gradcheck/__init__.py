"""Derivatives that can be trusted: a checker for them, and Jacobians, Hessians and their products."""
