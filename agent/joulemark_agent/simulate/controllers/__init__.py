"""Web interfaces of compressor controllers, served over real sockets for one simulated machine."""
