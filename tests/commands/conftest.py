"""These tests do not test composition, so configurations are composed once."""
