"""The words of the job: what a meter, a card, a window, a frame and an error are. Imports nothing of ours."""
