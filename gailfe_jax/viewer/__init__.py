"""One self-contained page that shows episodes of a MuJoCo task in three dimensions: `viewer.page.write_play`."""
