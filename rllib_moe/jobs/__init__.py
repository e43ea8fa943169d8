"""Training as a Ray job: what is sent, the job itself, its log and its end."""
