"""AWS EMR on EC2."""
