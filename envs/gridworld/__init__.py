"""Grid-worlds: rooms of cells with walls, lava, doors and coloured objects."""
