"""Where decisions are made and stored: the fleet with its sizes, the journal, and the tick."""
