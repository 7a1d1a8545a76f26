"""What evaluation, approval and monitoring make of the service's models."""
