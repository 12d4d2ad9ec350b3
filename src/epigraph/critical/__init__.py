"""Critical points: found in bulk, polished, told apart, merged where they are copies, certified, and kept."""
