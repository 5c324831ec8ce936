"""What is read of the fleet when somebody asks: machines, health, gauges, samples, and metrics."""
