"""Labels by hand: a local page that plays recorded episodes and stores which are good and which failed, from where."""
