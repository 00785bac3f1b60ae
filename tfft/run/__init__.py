"""What the commands share: an experiment put together, trained, kept in a work directory, judged, looked at before."""
