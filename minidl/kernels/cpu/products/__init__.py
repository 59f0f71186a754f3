"""Matrix products of every size: which form computes which, and the one kernel under all of them."""
