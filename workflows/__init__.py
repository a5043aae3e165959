"""Durable execution of a plan: gates, operator signals, status."""
