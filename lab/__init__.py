"""A simulated cluster on loopback that speaks the real protocols. A simulation: nothing here touches a real machine."""
