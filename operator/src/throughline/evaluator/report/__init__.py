"""What an evaluation found, for people and programs: JSON, text, and one HTML file that needs nothing else."""
