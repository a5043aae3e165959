"""The hands: one module a system; observe, decide, act, verify, report."""
