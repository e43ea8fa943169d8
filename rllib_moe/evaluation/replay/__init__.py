"""One episode, recorded step by step with everything the network said, as a page to look at or a moving picture."""
