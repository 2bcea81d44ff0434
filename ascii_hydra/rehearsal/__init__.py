"""A cloud on this machine to rehearse in: S3, and an EMR that really runs the steps."""
