"""The families of baseline models, a file each; every one is linear once its search has ended."""
