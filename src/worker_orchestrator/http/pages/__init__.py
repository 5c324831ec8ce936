"""What a browser is given: the dashboard, the page of the API, and its description."""
