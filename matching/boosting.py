"""xgboost without its scikit-learn estimators, which nothing here uses (docs/decisions/0261).

Where scikit-learn is installed, `import xgboost` reads it and scipy.stats: 85 MB and up to 3 s in every
process that scores. Modules of this package that read scikit-learn themselves import this one first, so that
no other thread looks for it meanwhile.
"""

import sys

_HIDDEN = "sklearn"

if _HIDDEN in sys.modules:
    import xgboost
else:
    sys.modules[_HIDDEN] = None  # type: ignore[assignment] # as if it were not installed
    try:
        import xgboost
    finally:
        del sys.modules[_HIDDEN]

__all__ = ["xgboost"]
