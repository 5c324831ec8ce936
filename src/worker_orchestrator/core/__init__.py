"""The pure core: what a machine is, and every decision about the fleet. No I/O, no clock, no event loop."""
