"""The local server: TF Serving's REST and gRPC APIs for SavedModels, in one process."""
