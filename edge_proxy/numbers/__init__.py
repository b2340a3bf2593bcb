"""What a dialled string means: which number it is, whether it calls for help, and who owns it."""
