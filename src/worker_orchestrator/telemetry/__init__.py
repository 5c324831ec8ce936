"""What the service reports about itself while it runs: log lines and counters, without secrets."""
