"""What a package outside the tree adds to Campaign."""
