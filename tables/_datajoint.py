"""DataJoint, imported without its warning that there is no datajoint.json: cotrain finds its database itself."""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="No datajoint.json found", category=UserWarning)
    import datajoint as dj

__all__ = ["dj"]
