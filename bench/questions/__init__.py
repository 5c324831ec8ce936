"""The questions, one module each. A question is a function of a `Run` that writes into its book."""
