"""What `engines.tensorrt` does in its child process, and the process itself."""
