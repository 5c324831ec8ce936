"""What is written about the service while it runs: log lines and counters, without secrets."""
