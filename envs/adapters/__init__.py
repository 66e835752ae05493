"""The environments under other libraries' interfaces; each module imports its library, this one none."""
