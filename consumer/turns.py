"""Which engines may be claimed from now, so that two that share a device do not reload it at each job."""
