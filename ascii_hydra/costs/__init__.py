"""What steps cost: usage times prices. Arithmetic alone; no network, no clock, no Dagster."""
