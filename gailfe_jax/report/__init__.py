"""One self-contained page about runs, sweeps and experiments: `gailfe_jax.report.page.write_report`."""
