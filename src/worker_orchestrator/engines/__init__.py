"""The places where machines run: what is asked of one (`base`), which one a setting names, and each of them."""
