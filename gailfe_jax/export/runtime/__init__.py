"""Files that go along with exports as they are. They import nothing of this package, and nothing here imports them."""
